#!lua flags=allow-oom
-- Writes how many live connections of an app a web process has, if all have no more than are allowed.
-- KEYS: the app's quota (hash): web process to `count until`, in ms, its lease
-- ARGV: web process, its count, most of all together (-1: write in any case), ms that the lease lasts
-- Returns: 1 if it was written, else 0.
local quota, me, mine, most = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local known, total = redis.call('HGETALL', quota), mine
for i = 1, #known, 2 do
  local count, till = string.match(known[i + 1], '^(%d+) (%d+)$')
  if tonumber(till) <= now then
    redis.call('HDEL', quota, known[i])
  elseif known[i] ~= me then
    total = total + tonumber(count)
  end
end
if most >= 0 and total > most then return 0 end
if mine == 0 then
  redis.call('HDEL', quota, me)
else
  redis.call('HSET', quota, me, string.format('%d %.0f', mine, now + ARGV[4]))
  redis.call('PEXPIRE', quota, ARGV[4])
end
return 1
