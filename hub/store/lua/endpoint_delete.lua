#!lua flags=allow-oom
-- Leaves a tombstone in an endpoint's place at once; workers cancel what it is owed in slices and then remove it.
-- KEYS: sched, e   ARGV: endpoint id
-- Returns: 1, or 0 when there is no such endpoint.
-- include delivery
local state = redis.call('HGET', KEYS[2], 'state')
if not state or state == 'deleted' then return 0 end
redis.call('HSET', KEYS[2], 'state', 'deleted')
redis.call('HDEL', KEYS[2], 'config')
redis.call('ZADD', KEYS[1], 'LT', store_ms(), ARGV[1])
return 1
