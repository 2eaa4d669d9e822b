#!lua flags=allow-oom
-- Reads what an endpoint's target is to be asked, and keeps others from asking it meanwhile.
-- KEYS: asks, e   ARGV: endpoint id, default timeout in ms, longest timeout in ms, ms beyond it
-- Returns: configuration, nonce, how often it was asked, timeout in ms; nothing where there is nothing to ask.
-- include delivery
local v = redis.call('HMGET', KEYS[2], 'config', 'nonce', 'asks', 'timeout', 'permit')
if not v[1] or not v[2] or v[5] then
  redis.call('ZREM', KEYS[1], ARGV[1])
  return {}
end
local timeout = math.min(tonumber(v[4] or ARGV[2]), tonumber(ARGV[3]))
redis.call('ZADD', KEYS[1], 'XX', store_ms() + timeout + ARGV[4], ARGV[1])
return {v[1], v[2], tonumber(v[3] or '0'), timeout}
