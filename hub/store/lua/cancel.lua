#!lua flags=allow-oom
-- Cancels one pending delivery. Its entry stays in the queue and is dropped when a worker claims it; where others of its
-- topic wait behind it, that is at once.
-- KEYS: sched, r, h, o, b, s
-- ARGV: endpoint id, reference, retention of the records in s, most attempts of a delivery, numbers of a bucket of figures
-- Returns: `ok`, `missing`, or `ended` (it was not pending any more).
-- include delivery
-- include tally
local sched, r, h, o, b = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local now, ep, ref = store_ms(), ARGV[1], ARGV[2]
local rec = read_record(o, ep)
if not rec then return 'missing' end
if rec.status ~= 'p' then return 'ended' end
end_delivery(o, b, ep, rec, 'c', now, tonumber(ARGV[3]))
local size = tonumber(ARGV[5])
tally(KEYS[6], now, {[size] = 1}, size)
if redis.call('HEXISTS', h, ref .. '|' .. rec.generation) == 1 then
  -- Its number is one above the last attempt's, or more where workers died.
  for number = rec.attempts + 1, rec.base + ARGV[4] do
    if redis.call('ZADD', r, 'XX', 'CH', now, ref .. '|' .. number .. '|' .. rec.generation) == 1 then
      redis.call('ZADD', sched, 'LT', now, ep)
      break
    end
  end
end
return 'ok'
