#!lua flags=allow-oom
-- Tells dispatch of an endpoint that was written or deleted; the change's id is the endpoints' version.
-- KEYS: index (hash), changes (stream), the app's endpoints (zset)
-- ARGV: endpoint id, what matching needs (JSON; empty: the endpoint was deleted)
-- Returns: 1 if the index held it before, else 0.
local known = redis.call('HEXISTS', KEYS[1], ARGV[1])
if ARGV[2] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
  redis.call('ZREM', KEYS[3], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
  redis.call('ZADD', KEYS[3], 0, ARGV[1])
end
redis.call('XADD', KEYS[2], 'MAXLEN', '~', 10000, '*', 'e', ARGV[1])
return known
