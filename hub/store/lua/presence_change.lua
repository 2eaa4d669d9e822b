#!lua flags=allow-oom
-- Adds and removes members for one holder, and tells every process of it on the control stream: one entry per topic.
-- KEYS: leases, presence, held, control stream, then per change: members, topics
-- ARGV: holder, what its lease must be (`held` or `ended`), length of the control stream, then per change: `+` (is a member),
--   `-` (is none any more) or `?` (only asks), app, topic, user. A holder and user stand at most once per topic and call.
-- Returns: nothing when the lease is not so (then nothing has changed); else per change the topic's version and its count.
-- A user is a member as long as one holder says so, so joining and leaving is told once, whoever repeats it.
-- `members` is a hash, user to the number of holders; the field of no name is the topic's version. A version is a number that
-- only grows; an entry names the one before it, so that a reader sees when it missed one.
local presence, held, stream = KEYS[2], KEYS[3], KEYS[4]
local lease = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not lease or (tonumber(lease) == 0) ~= (ARGV[2] == 'ended') then return {} end
local rooms, order, changes = {}, {}, (#KEYS - 4) / 2
for n = 0, changes - 1 do
  local members, topics, a = KEYS[5 + 2 * n], KEYS[6 + 2 * n], 4 + 4 * n
  local op, app, topic, user = ARGV[a], ARGV[a + 1], ARGV[a + 2], ARGV[a + 3]
  local room = rooms[members]
  if not room then
    room = {app = app, topic = topic, topics = topics, joined = {}, left = {}}
    rooms[members], order[#order + 1] = room, members
  end
  local pair = app .. '\0' .. topic .. '\0' .. user
  if op == '+' and redis.call('SADD', held, pair) == 1 then
    if redis.call('HINCRBY', members, user, 1) == 1 then room.joined[#room.joined + 1] = user end
  elseif op == '-' and redis.call('SREM', held, pair) == 1 then
    if redis.call('HINCRBY', members, user, -1) < 1 then
      redis.call('HDEL', members, user)
      room.left[#room.left + 1] = user
    end
  end
end
for _, members in ipairs(order) do
  local room = rooms[members]
  local before = redis.call('HGET', members, '')
  room.version, room.count = before or '0', redis.call('HLEN', members) - (before and 1 or 0)
  if #room.joined + #room.left > 0 then
    room.version = redis.call('HINCRBY', presence, 'version', 1)
    if room.count == 0 then
      redis.call('DEL', members)
      redis.call('ZREM', room.topics, room.topic)
    else
      redis.call('HSET', members, '', room.version)
      if not before then redis.call('ZADD', room.topics, 0, room.topic) end
    end
    local told = {topic = room.topic, count = room.count, version = room.version, before = tonumber(before or '0')}
    if #room.joined > 0 then told.joined = room.joined end
    if #room.left > 0 then told.left = room.left end
    redis.call('XADD', stream, 'MAXLEN', '~', ARGV[3], '*', 'k', 'presence', 'a', room.app, 'd', cjson.encode(told))
  end
end
local out = {}
for n = 0, changes - 1 do
  local room = rooms[KEYS[5 + 2 * n]]
  out[2 * n + 1], out[2 * n + 2] = tonumber(room.version), room.count
end
return out
