#!lua
-- Writes an endpoint's truth, if nobody changed it since it was read.
-- KEYS: sched, e   ARGV: endpoint id, version that was read (0: it is new), configuration (JSON), most in flight, timeout in
-- ms (empty: the default), `1` to enable, `0` to disable, empty to leave that as it is
-- Returns: the new version; 0 when there is no such endpoint; -1 when the version is another.
-- include delivery
local e = redis.call('HMGET', KEYS[2], 'version', 'state')
if e[2] == 'deleted' or (not e[1] and ARGV[2] ~= '0') then return 0 end
if (e[1] or '0') ~= ARGV[2] then return -1 end
redis.call('HSET', KEYS[2], 'config', ARGV[3], 'cap', ARGV[4])
if ARGV[5] == '' then redis.call('HDEL', KEYS[2], 'timeout') else redis.call('HSET', KEYS[2], 'timeout', ARGV[5]) end
if ARGV[6] == '1' then
  redis.call('HSET', KEYS[2], 'state', 'on', 'why', '')
elseif ARGV[6] == '0' then
  redis.call('HSET', KEYS[2], 'state', 'off', 'why', 'manual')
end
redis.call('ZADD', KEYS[1], 'LT', store_ms(), ARGV[1])
return redis.call('HINCRBY', KEYS[2], 'version', 1)
