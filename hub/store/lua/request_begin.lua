#!lua
-- Begins the request of an Idempotency-Key, or says what has become of it.
-- KEYS: the request (hash): f (fingerprint), t (ms of its first try), n (who runs it), u (until when, in ms), a (answer)
-- ARGV: fingerprint, who asks, ms that it may run, s that the request is kept
-- Returns: `reused` (its fingerprint is another); `done` and its answer; `busy` and for how many ms it may still run;
--   or `run` and the ms of its first try. Who runs it already is given more time.
local request = KEYS[1]
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local known = redis.call('HMGET', request, 'f', 't', 'n', 'u', 'a')
if known[1] and known[1] ~= ARGV[1] then return {'reused'} end
if known[5] then return {'done', known[5]} end
if known[4] and known[3] ~= ARGV[2] and tonumber(known[4]) > now then return {'busy', tonumber(known[4]) - now} end
local first = known[2] or string.format('%.0f', now)
redis.call('HSET', request, 'f', ARGV[1], 't', first, 'n', ARGV[2], 'u', string.format('%.0f', now + ARGV[3]))
if not known[2] then redis.call('EXPIRE', request, ARGV[4]) end
return {'run', tonumber(first)}
