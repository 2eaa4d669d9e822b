#!lua flags=allow-oom
-- Takes, renews or gives back a lease.
-- KEYS: lease   ARGV: the holder's token, ms to hold it (0: give it back)
-- Returns: 1 if the token holds it now (or held it, when given back), else 0.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then return redis.call('DEL', KEYS[1]) end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
