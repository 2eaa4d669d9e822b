#!lua flags=allow-oom
-- Ends an API key, and has every process look again.
-- KEYS: API keys (hash), the app's keys (zset), last use (hash), version   ARGV: key id, the new version
-- Returns: 1 if there was one, else 0.
local known = redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call('SET', KEYS[4], ARGV[2])
return known
