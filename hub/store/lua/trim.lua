#!lua flags=allow-oom
-- Trims one partition's log and keeps the floor: the last position that was removed, or may have been.
-- KEYS: log, meta   ARGV: oldest ms to keep, most bytes to keep (0: any), `1` when the store is at its limit, `1` when there
-- are no endpoints (then what was appended counts as dispatched)
-- Never past what dispatch has applied, and at most a tenth of the entries at once, so a clock that jumped can't empty it.
-- Returns: entries removed, bytes of the log now.
local log, meta = KEYS[1], KEYS[2]
local oldest, most, full = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3] == '1'
local length = redis.call('XLEN', log)
local bytes = length > 0 and redis.call('MEMORY', 'USAGE', log, 'SAMPLES', 5) or 0
local removed = 0
local applied = redis.call('HGET', meta, 'dispatched')
if ARGV[4] == '1' and length > 0 then applied = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1][1] end
if length > 0 and applied then
  local am, as = string.match(applied, '^(%d+)-(%d+)$')
  local over = most > 0 and bytes > most * 0.8 and math.ceil(length * (1 - most * 0.8 / bytes)) or 0
  local tenth = math.max(1, math.floor(length / 10))
  local batch = redis.call('XRANGE', log, '-', '+', 'COUNT', math.min(tenth, 1000))
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
  end
end
local at_limit = full or (most > 0 and bytes > most * 0.85)
if at_limit then redis.call('HSET', meta, 'full', '1') else redis.call('HDEL', meta, 'full') end
return {removed, bytes}
