#!lua
-- Writes or removes a type of an app's catalogue, and raises the catalogue's version.
-- KEYS: the app's types (hash), versions (hash)
-- ARGV: app, type, record (JSON; empty: remove it), most types of an app
-- Returns: `new`, `known`, `missing` (there was none to remove), or `many`.
local known = redis.call('HEXISTS', KEYS[1], ARGV[2])
if ARGV[3] == '' then
  if known == 0 then return 'missing' end
  redis.call('HDEL', KEYS[1], ARGV[2])
else
  if known == 0 and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4]) then return 'many' end
  redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
end
redis.call('HINCRBY', KEYS[2], ARGV[1], 1)
redis.call('HINCRBY', KEYS[2], '', 1)
return known == 1 and 'known' or 'new'
