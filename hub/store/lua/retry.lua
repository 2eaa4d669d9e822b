#!lua
-- Owes an ended delivery once more, from the start of the endpoint's schedule.
-- KEYS: sched, e, r, o, b   ARGV: endpoint id, reference, the event's bytes for when they were freed (empty: not known)
-- Returns: `ok`, `missing`, `pending`, `gone` (the endpoint collects nothing) or `expired` (no bytes).
-- include delivery
local sched, e, r, o, b = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local now, ep, ref = store_ms(), ARGV[1], ARGV[2]
local state = redis.call('HMGET', e, 'state', 'why')
local rec = read_record(o, ep)
if not rec or not state[1] or state[1] == 'deleted' then return 'missing' end
if rec.status == 'p' then return 'pending' end
if is_dying(state[1], state[2]) then return 'gone' end
if redis.call('EXISTS', b) == 0 then
  if ARGV[3] == '' then return 'expired' end
  redis.call('SET', b, ARGV[3])
end
if rec.status ~= 's' then redis.call('HINCRBY', o, 'k', -1) end
redis.call('HINCRBY', o, 'n', 1)
redis.call('PERSIST', o)
redis.call('PERSIST', b)
rec.status, rec.generation, rec.base, rec.at = 'p', rec.generation + 1, rec.attempts, now
write_record(o, ep, rec)
redis.call('ZADD', r, now, ref .. '|' .. (rec.attempts + 1) .. '|' .. rec.generation)
redis.call('ZADD', sched, 'LT', now, ep)
return 'ok'
