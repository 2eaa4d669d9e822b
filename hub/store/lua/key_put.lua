#!lua
-- Writes a new API key, unless its app was changed since it was read: it may have been deleted.
-- KEYS: API keys (hash), the app's keys (zset), apps (hash)
-- ARGV: key id, record, app id, the app's record as it was read (empty: none)
-- Returns: 1 if it was written, else 0.
if (redis.call('HGET', KEYS[3], ARGV[3]) or '') ~= ARGV[4] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], 0, ARGV[1])
return 1
