#!lua flags=allow-oom
-- Leases an endpoint's due deliveries to a worker, after taking back the leases that ran out.
-- KEYS: sched, tick, e, f, r, l   ARGV: endpoint id, most, settle budget in ms, default timeout in ms, nonce
-- Returns: nothing when the endpoint is gone; `purge` and queued entries when they are to be cancelled; otherwise `claim`,
-- the endpoint's version, and the leases.
-- While fresh work waits, retries get at most half; of an odd number the odd one goes to each in turn.
-- include delivery
local k = {sched = KEYS[1], tick = KEYS[2], e = KEYS[3], f = KEYS[4], r = KEYS[5], l = KEYS[6]}
local now, ep = store_ms(), ARGV[1]
local e = redis.call('HMGET', k.e, 'state', 'why', 'cap', 'version', 'timeout', 'turn')
if not e[1] then
  redis.call('ZREM', k.sched, ep)
  return {}
end
if now >= tonumber(redis.call('HGET', k.tick, 'grace') or '0') then
  local ended = redis.call('ZRANGE', k.l, '-inf', now, 'BYSCORE', 'LIMIT', 0, 200)
  for n = 1, #ended do
    -- It counts as an attempt although nobody knows how it ended, so that one that kills its worker ends some day.
    local ref, attempt, generation = string.match(ended[n], '^(.-)|(%d+)|(%d+)|')
    redis.call('ZREM', k.l, ended[n])
    redis.call('ZADD', k.r, now, ref .. '|' .. (attempt + 1) .. '|' .. generation)
  end
end
if is_dying(e[1], e[2]) then
  local out = {'purge'}
  for _, entry in ipairs(redis.call('LRANGE', k.f, 0, 99)) do out[#out + 1] = entry end
  for _, entry in ipairs(redis.call('ZRANGE', k.r, 0, 99)) do out[#out + 1] = entry end
  reschedule(k, ep, now)
  return out
end
local most = e[1] == 'on' and math.min(tonumber(ARGV[2]), tonumber(e[3]) - redis.call('ZCARD', k.l)) or 0
local out = {'claim', e[4]}
if most > 0 then
  local due = redis.call('ZRANGE', k.r, '-inf', now, 'BYSCORE', 'LIMIT', 0, most)
  local share = math.floor(most / 2)
  if most % 2 == 1 and #due > share and redis.call('LLEN', k.f) > 0 then
    if e[6] == '1' then share = share + 1 end
    redis.call('HSET', k.e, 'turn', e[6] == '1' and '0' or '1')
  end
  local fresh = redis.call('LPOP', k.f, most - math.min(share, #due)) or {}
  local ends = now + tonumber(e[5] or ARGV[4]) + tonumber(ARGV[3])
  local function lease(entry)
    local token = entry .. '|' .. ARGV[5]
    redis.call('ZADD', k.l, ends, token)
    out[#out + 1] = token
  end
  for n = 1, #fresh do lease(fresh[n]) end
  for n = 1, math.min(#due, most - #fresh) do
    redis.call('ZREM', k.r, due[n])
    lease(due[n])
  end
end
reschedule(k, ep, now)
return out
