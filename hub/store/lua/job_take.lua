#!lua flags=allow-oom
-- Takes a job that is due to be worked on, and keeps it from others for the hold.
-- KEYS: jobs   ARGV: hold in ms
-- Returns: `endpoint|number`, or nothing.
-- include delivery
local now = store_ms()
local due = redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, 1)[1]
if due then redis.call('ZADD', KEYS[1], now + tonumber(ARGV[1]), due) end
return due
