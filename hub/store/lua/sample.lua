#!lua
-- Owes a test event to one endpoint. It is in no log; its reference has an origin of its own (see records.py).
-- KEYS: sched, e, r, o, b, index (stream)
-- ARGV: endpoint id, reference, position, event id, app, topic, type, request id, body, retention of the records in s
-- Returns: `ok`, `missing` (no such endpoint), or `off` (it is disabled).
-- include delivery
local sched, e, r, o, b, index = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local now, ep, ref = store_ms(), ARGV[1], ARGV[2]
local state = redis.call('HGET', e, 'state')
if not state or state == 'deleted' then return 'missing' end
if state ~= 'on' then return 'off' end
redis.call('HSET', o, 'i', ARGV[4], 'a', ARGV[5], 't', ARGV[6], 'y', ARGV[7], 'q', ARGV[8], 'n', 1,
  ep, string.format('p 0 0 0 %.0f ', now))
redis.call('SET', b, ARGV[9])
redis.pcall('XADD', index, 'MINID', '~', string.format('%.0f', now - ARGV[10] * 1000), ARGV[3], 'p', '')
redis.call('EXPIRE', index, ARGV[10])
redis.call('ZADD', r, now, ref .. '|1|0')
redis.call('ZADD', sched, 'LT', now, ep)
return 'ok'
