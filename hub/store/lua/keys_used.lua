#!lua
-- Notes when keys were used last; not for keys that have ended meanwhile.
-- KEYS: API keys (hash), last use (hash)   ARGV: key id and moment in ms, for each key
-- Returns: nothing.
for n = 1, #ARGV, 2 do
  local known = redis.call('HGET', KEYS[2], ARGV[n])
  if redis.call('HEXISTS', KEYS[1], ARGV[n]) == 1 and (not known or tonumber(known) < tonumber(ARGV[n + 1])) then
    redis.call('HSET', KEYS[2], ARGV[n], ARGV[n + 1])
  end
end
