#!lua
-- Writes or removes a type of an app's catalogue, and raises the catalogue's version.
-- KEYS: the app's types (hash), versions (hash)
-- ARGV: app, type, record (JSON; empty: remove it), most types of an app, the record as it was read (empty: there was
--   none; `*`: whatever it is)
-- Returns: `new`, `known`, `missing` (there was none to remove), `many`, or `changed` (it isn't as it was read).
local present = redis.call('HGET', KEYS[1], ARGV[2])
if ARGV[5] ~= '*' and (present or '') ~= ARGV[5] then return 'changed' end
local known = present and 1 or 0
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
