#!lua flags=allow-oom
-- How endpoints of one delivery partition stand, for the operators' eyes.
-- KEYS: per endpoint: e, f, r, l, w
-- Returns: per endpoint its state (empty: there is none), why, until when its breaker is open (empty: it is closed), the
-- numbers of fresh, retried, leased and waiting deliveries, the oldest fresh one, and when the first retry is due in ms
-- (both empty: there is none)
local out = {}
for n = 0, #KEYS / 5 - 1 do
  local k = 5 * n
  local v = redis.call('HMGET', KEYS[k + 1], 'state', 'why', 'open')
  local due = redis.call('ZRANGE', KEYS[k + 3], 0, 0, 'WITHSCORES')
  local one = {v[1] or '', v[2] or '', v[3] or '', redis.call('LLEN', KEYS[k + 2]), redis.call('ZCARD', KEYS[k + 3]),
    redis.call('ZCARD', KEYS[k + 4]), redis.call('ZCARD', KEYS[k + 5]), redis.call('LINDEX', KEYS[k + 2], 0) or '',
    due[2] or ''}
  for i = 1, #one do out[#out + 1] = one[i] end
end
return out
