#!lua flags=allow-oom
-- Cancels a slice of what is queued for an endpoint that was deleted or answered 410.
-- KEYS: sched, tick, e, f, r, l, then per entry: o, b   ARGV: endpoint id, retention of the records in s, the entries
-- Returns: deliveries cancelled; 0 when the endpoint was enabled again meanwhile.
-- include delivery
local k = {sched = KEYS[1], tick = KEYS[2], e = KEYS[3], f = KEYS[4], r = KEYS[5], l = KEYS[6]}
local now, ep, keep, cancelled = store_ms(), ARGV[1], tonumber(ARGV[2]), 0
local e = redis.call('HMGET', k.e, 'state', 'why')
if not is_dying(e[1], e[2]) then return 0 end
for n = 0, #ARGV - 3 do
  local entry, o, b = ARGV[3 + n], KEYS[7 + 2 * n], KEYS[8 + 2 * n]
  if redis.call('LREM', k.f, 1, entry) + redis.call('ZREM', k.r, entry) > 0 then
    local rec = read_record(o, ep)
    local generation = string.match(entry, '|(%d+)$')
    if rec and rec.status == 'p' and rec.generation == tonumber(generation) then
      end_delivery(o, b, ep, rec, 'c', now, keep)
      cancelled = cancelled + 1
    end
  end
end
reschedule(k, ep, now)
return cancelled
