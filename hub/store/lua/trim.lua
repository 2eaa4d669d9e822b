#!lua flags=allow-oom
-- Trims one partition's log and keeps the floor: the last position that was removed, or may have been.
-- KEYS: log, meta   ARGV: oldest ms to keep, most bytes to keep (0: any), `1` when the store is at its limit, `1` when there
-- are no endpoints (then what was appended counts as dispatched), most entries to remove (empty: a tenth of them)
-- Never past what dispatch has applied. A call looks at 100 entries, so it never holds the store up for long; the caller
-- goes on with what is left of the tenth.
-- Returns: entries removed, how many more may go now (0: none), bytes of the log.
local log, meta = KEYS[1], KEYS[2]
local oldest, most, full = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3] == '1'
local length = redis.call('XLEN', log)
local bytes = length > 0 and redis.call('MEMORY', 'USAGE', log, 'SAMPLES', 5) or 0
local removed, left = 0, 0
local applied = redis.call('HGET', meta, 'dispatched')
if ARGV[4] == '1' and length > 0 then applied = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1][1] end
if length > 0 and applied then
  local am, as = string.match(applied, '^(%d+)-(%d+)$')
  local over = most > 0 and bytes > most * 0.8 and math.ceil(length * (1 - most * 0.8 / bytes)) or 0
  local most_removed = tonumber(ARGV[5]) or math.max(1, math.floor(length / 10))
  local batch = redis.call('XRANGE', log, '-', '+', 'COUNT', math.min(most_removed, 100))
  local last
  for n = 1, #batch do
    local id = batch[n][1]
    local ms, seq = string.match(id, '^(%d+)-(%d+)$')
    ms, seq, am, as = tonumber(ms), tonumber(seq), tonumber(am), tonumber(as)
    if ms > am or (ms == am and seq > as) then break end
    if ms >= oldest and n > over then break end
    last, removed = id, n
  end
  if last then
    redis.call('HSET', meta, 'floor', last)
    redis.call('XTRIM', log, 'MAXLEN', length - removed)
    bytes = redis.call('MEMORY', 'USAGE', log, 'SAMPLES', 5) or 0
    if removed == #batch then left = most_removed - removed end
  end
end
local at_limit = full or (most > 0 and bytes > most * 0.85)
if at_limit then redis.call('HSET', meta, 'full', '1') else redis.call('HDEL', meta, 'full') end
return {removed, left, bytes}
