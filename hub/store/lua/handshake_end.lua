#!lua flags=allow-oom
-- Records how a target answered. What was asked before the endpoint changed counts no more: the nonce is another.
-- KEYS: sched, tick, the endpoint's (see endpoint_keys), asks, out
-- ARGV: endpoint id, app, nonce, the origin that it agreed to (empty: it refused), rate in requests a minute (empty: no bound),
-- limit and period in ms that keep to it (empty: no bound), why it refused, ms until it is asked again (empty: no more)
-- Returns: 1, or 0 where it counts no more.
-- include delivery
local k, asks, out, ep = endpoint_keys(), KEYS[10], KEYS[11], ARGV[1]
local now, v = store_ms(), redis.call('HMGET', k.e, 'nonce', 'state', 'why', 'asks', 'permit')
if v[1] ~= ARGV[3] or v[2] == 'deleted' or v[5] then return 0 end
if ARGV[4] == '' then
  redis.call('HSET', k.e, 'refusal', ARGV[8], 'asked', string.format('%.0f', now))
  redis.call('HINCRBY', k.e, 'asks', 1)
  if v[4] == '0' then report(out, 'hub.endpoint.handshake_refused', ARGV[2], ep, '', '', ARGV[8]) end
  if ARGV[9] == '' or v[3] ~= 'handshake' then
    redis.call('ZREM', asks, ep)
    redis.call('HDEL', k.e, 'again')
  else
    redis.call('ZADD', asks, now + ARGV[9], ep)
    redis.call('HSET', k.e, 'again', string.format('%.0f', now + ARGV[9]))
  end
  return 1
end
redis.call('HSET', k.e, 'permit', ARGV[4], 'asked', string.format('%.0f', now))
redis.call('HDEL', k.e, 'nonce', 'again', 'refusal')
if ARGV[5] ~= '' then redis.call('HSET', k.e, 'rate', ARGV[5], 'allow', ARGV[6], 'span', ARGV[7]) end
redis.call('HINCRBY', k.e, 'version', 1)
redis.call('ZREM', asks, ep)
if v[3] == 'handshake' then redis.call('HSET', k.e, 'state', 'on', 'why', '') end
report(out, 'hub.endpoint.handshake_granted', ARGV[2], ep, '', '', '')
reschedule(k, ep, now, read_endpoint(k))
return 1
