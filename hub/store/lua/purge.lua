#!lua flags=allow-oom
-- Cancels a slice of what is queued for an endpoint that was deleted or answered 410.
-- KEYS: sched, tick, e, f, r, l, h, w, c, s, then per entry: o, b
-- ARGV: endpoint id, retention of the records in s, numbers of a bucket of figures, the entries
-- Returns: deliveries cancelled; 0 when the endpoint was enabled again meanwhile.
-- include delivery
-- include tally
local k, now, ep, keep, cancelled = endpoint_keys(), store_ms(), ARGV[1], tonumber(ARGV[2]), 0
local e = read_endpoint(k)
if not is_dying(e.state, e.why) then return 0 end
for n = 0, #ARGV - 4 do
  local entry, o, b = ARGV[4 + n], KEYS[11 + 2 * n], KEYS[12 + 2 * n]
  if redis.call('LREM', k.f, 1, entry) + redis.call('ZREM', k.r, entry) + redis.call('ZREM', k.w, entry) > 0 then
    local rec = read_record(o, ep)
    local ref, generation = string.match(entry, '([^|]+)|%d+|(%d+)$')
    if rec and rec.status == 'p' and rec.generation == tonumber(generation) then
      end_delivery(o, b, ep, rec, 'c', now, keep)
      cancelled = cancelled + 1
    end
    if e.ordered then pass_on(k, ref, generation) end
  end
end
local size = tonumber(ARGV[3])
if cancelled > 0 and e.state ~= 'deleted' then tally(KEYS[10], now, {[size] = cancelled}, size) end
reschedule(k, ep, now, e)
return cancelled
