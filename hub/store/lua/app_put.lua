#!lua flags=allow-oom
-- Writes an app's record unless another one came between, and has every process look again.
-- KEYS: apps (hash), ids of those that are not deleted (zset), ids of those whose deletion is under way (set), version
-- ARGV: app id, the record that was read (empty: none), the new one, its state, the new version
-- Returns: 1 if it was written, else 0.
-- Disabling and deleting must not wait for room in a full store.
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
if ARGV[4] == 'enabled' or ARGV[4] == 'disabled' then
  redis.call('ZADD', KEYS[2], 0, ARGV[1])
else
  redis.call('ZREM', KEYS[2], ARGV[1])
end
redis.call(ARGV[4] == 'deleting' and 'SADD' or 'SREM', KEYS[3], ARGV[1])
redis.call('SET', KEYS[4], ARGV[5])
return 1
