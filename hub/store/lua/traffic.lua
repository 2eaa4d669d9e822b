#!lua flags=allow-oom
-- Adds what one process counted of an app to its figures: the rings of tally.lua, and the totals.
-- KEYS: the app's traffic (hash)   ARGV: the counts, in the order of Traffic (store/traffic.py)
-- Returns: nothing.
-- include tally
local t = redis.call('TIME')
local counts = {}
for n, more in ipairs(ARGV) do
  counts[n + 1] = tonumber(more)
  if more ~= '0' then redis.call('HINCRBY', KEYS[1], 'total' .. n, more) end
end
tally(KEYS[1], t[1] * 1000 + math.floor(t[2] / 1000), counts, #ARGV + 1)
return redis.status_reply('OK')
