#!lua flags=no-writes
-- Who is in a topic.
-- KEYS: members   ARGV: most users to name (0: all). Of more than that it names some, no matter which.
-- Returns: version (0 when nobody is), count, users
local members, most = KEYS[1], tonumber(ARGV[1])
local version = redis.call('HGET', members, '')
local count = redis.call('HLEN', members) - (version and 1 or 0)
local users = {}
if most == 0 or count <= most then
  users = redis.call('HKEYS', members)
else
  users = redis.call('HRANDFIELD', members, most + 1)
end
local out = {tonumber(version or '0'), count}
for n = 1, #users do
  if users[n] ~= '' and (most == 0 or #out < most + 2) then out[#out + 1] = users[n] end
end
return out
