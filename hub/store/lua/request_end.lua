#!lua flags=allow-oom
-- Ends the request of an Idempotency-Key: with an answer to repeat, or free to be tried again.
-- KEYS: the request (see request_begin.lua)
-- ARGV: who ran it, its answer (empty: none), s that the answer is kept
-- Returns: 1, or 0 where somebody else runs it by now.
local request = KEYS[1]
if redis.call('HGET', request, 'n') ~= ARGV[1] then return 0 end
redis.call('HDEL', request, 'n', 'u')
if ARGV[2] ~= '' then
  redis.call('HSET', request, 'a', ARGV[2])
  redis.call('EXPIRE', request, ARGV[3])
end
return 1
