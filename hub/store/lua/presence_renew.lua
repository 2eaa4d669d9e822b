#!lua flags=allow-oom
-- Takes or renews a holder's lease, and ends the leases that ran out.
-- KEYS: leases, presence   ARGV: holder, ms of a lease, `new` or `known`, ms of silence after which nothing is ended
-- Returns: 1, or 0 when the holder's lease is no more (it begins anew under another name); then holders that have ended and
-- whose members are to be removed.
-- After a silence (the store was away, or every process) all leases may have run out at once, so each gets its time again.
-- include epoch
local now = store_ms()
local leases, presence, holder, length = KEYS[1], KEYS[2], ARGV[1], tonumber(ARGV[2])
local state = redis.call('HMGET', presence, 'tick', 'grace')
local tick, grace = tonumber(state[1] or '0'), tonumber(state[2] or '0')
if now < tick or now - tick > tonumber(ARGV[4]) then
  grace = now + length
  redis.call('HSET', presence, 'grace', string.format('%.0f', grace))
end
redis.call('HSET', presence, 'tick', string.format('%.0f', now))
local lease = tonumber(redis.call('ZSCORE', leases, holder) or '0')
local holds = ARGV[3] == 'new' or lease > 0
if holds then redis.call('ZADD', leases, string.format('%.0f', now + length), holder) end
-- A clock that went back would let leases last for ever: one that ends later than any could is cut to its length.
local late = redis.call('ZRANGE', leases, string.format('(%.0f', now + length), '+inf', 'BYSCORE', 'LIMIT', 0, 100)
for n = 1, #late do redis.call('ZADD', leases, string.format('%.0f', now + length), late[n]) end
if now >= grace then
  local out = redis.call('ZRANGE', leases, '(0', string.format('%.0f', now), 'BYSCORE', 'LIMIT', 0, 10)
  for n = 1, #out do redis.call('ZADD', leases, 0, out[n]) end
end
return {holds and 1 or 0, unpack(redis.call('ZRANGE', leases, 0, 0, 'BYSCORE', 'LIMIT', 0, 10))}
