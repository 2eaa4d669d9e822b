#!lua flags=allow-oom
-- Picks endpoints that need a worker now and keeps them from others for the hold, within which they are claimed.
-- KEYS: sched, tick   ARGV: most, hold in ms, grace in ms
-- Returns: ms until the next endpoint is due (-1: none is scheduled), then the ids that were picked.
-- Every worker calls this at least twice a second. A gap, or a clock that stepped, means that the store was away: nothing is
-- reclaimed for the grace, so that an answer that couldn't be recorded meanwhile gets its chance.
-- include delivery
local now = store_ms()
local last = tonumber(redis.call('HGET', KEYS[2], 'last') or '0')
if now - last > 1000 or now < last then redis.call('HSET', KEYS[2], 'grace', string.format('%.0f', now + ARGV[3])) end
if math.abs(now - last) > 200 then redis.call('HSET', KEYS[2], 'last', string.format('%.0f', now)) end
local picked = redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[1])
for n = 1, #picked do redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), picked[n]) end
local head = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
local out = {head[2] and math.max(0, tonumber(head[2]) - now) or -1}
for n = 1, #picked do out[n + 1] = picked[n] end
return out
