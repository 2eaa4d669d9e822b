#!lua flags=allow-oom
-- Leases due deliveries of endpoints to a worker, after taking back the leases that ran out.
-- KEYS: sched, tick, then per endpoint: e, f, r, l, h, w, c
-- ARGV: settle budget in ms, default timeout in ms, nonce, then per endpoint: its id, most, ms in which what more is due
-- waits
-- Returns per endpoint: nothing when it is gone; `purge` and queued entries when they are to be cancelled; `error` and the
-- reason when its keys can't be used; otherwise `claim`, its version, `1` if it has a rate limit, and the leases.
-- While fresh work waits, retries get at most half; of an odd number the odd one goes to each in turn.
-- include delivery
local now, grace = store_ms(), tonumber(redis.call('HGET', KEYS[2], 'grace') or '0')
local k, e  -- of the endpoint that is served

local function take_back()
  local ended = redis.call('ZRANGE', k.l, '-inf', now, 'BYSCORE', 'LIMIT', 0, 200)
  for n = 1, #ended do
    -- It counts as an attempt although nobody knows how it ended, so that one that kills its worker ends some day.
    local ref, attempt, generation = string.match(ended[n], '^(.-)|(%d+)|(%d+)|')
    redis.call('ZREM', k.l, ended[n])
    redis.call('ZADD', k.r, now, ref .. '|' .. (attempt + 1) .. '|' .. generation)
  end
end

local function to_cancel()
  local out = {'purge'}
  for _, entry in ipairs(redis.call('LRANGE', k.f, 0, 99)) do out[#out + 1] = entry end
  for _, entry in ipairs(redis.call('ZRANGE', k.r, 0, 99)) do out[#out + 1] = entry end
  for _, entry in ipairs(redis.call('ZRANGE', k.w, 0, 99)) do out[#out + 1] = entry end
  return out
end

-- How many may be claimed now: of each rate limit what its last period left, of an open breaker nothing, then its probe.
local function allowance(most)
  if e.longest then
    redis.call('ZREMRANGEBYSCORE', k.c, '-inf', now - e.longest - 1)
    -- The clock went back: what was claimed "later" was claimed by now.
    for _, token in ipairs(redis.call('ZRANGE', k.c, '(' .. now, '+inf', 'BYSCORE')) do
      redis.call('ZADD', k.c, now, token)
    end
    for _, one in ipairs(e.windows) do
      most = math.min(most, one.limit - redis.call('ZCOUNT', k.c, '(' .. now - one.period - 1, '+inf'))
    end
  end
  local from = allowed_from(k, e, now)
  if not from or from > now then return 0 end
  return e.open and math.min(most, 1) or most
end

local function lease(entry, ends)
  local token = entry .. '|' .. ARGV[3]
  redis.call('ZADD', k.l, ends, token)
  if e.longest then redis.call('ZADD', k.c, now, token) end
  if e.open then
    redis.call('HSET', k.e, 'probe', token)
    e.probe = token
  end
  return token
end

local function claim(most, out)
  local due = redis.call('ZRANGE', k.r, '-inf', now, 'BYSCORE', 'LIMIT', 0, most)
  local share = math.floor(most / 2)
  if most % 2 == 1 and #due > share and redis.call('LLEN', k.f) > 0 then
    if e.turn == '1' then share = share + 1 end
    redis.call('HSET', k.e, 'turn', e.turn == '1' and '0' or '1')
  end
  local left = most - math.min(share, #due)
  local fresh = left > 0 and redis.call('LPOP', k.f, left) or {}
  local ends = now + tonumber(e.timeout or ARGV[2]) + tonumber(ARGV[1])
  for n = 1, #fresh do out[#out + 1] = lease(fresh[n], ends) end
  for n = 1, math.min(#due, most - #fresh) do
    redis.call('ZREM', k.r, due[n])
    out[#out + 1] = lease(due[n], ends)
  end
  if e.longest and #out > 3 then redis.call('PEXPIRE', k.c, e.longest + 1000) end
end

local function serve(ep, most, later)
  e = read_endpoint(k)
  if not e.state then
    redis.call('ZREM', k.sched, ep)
    return {}
  end
  if now >= grace then take_back() end
  if is_dying(e.state, e.why) then
    local out = to_cancel()
    reschedule(k, ep, now, e)
    return out
  end
  local out = {'claim', e.version, e.longest and '1' or ''}
  most = e.state == 'on' and math.min(most, e.cap - redis.call('ZCARD', k.l)) or 0
  if most > 0 then most = allowance(most) end
  if most > 0 then claim(most, out) end
  reschedule(k, ep, now + later, e)
  return out
end

local results = {}
for n = 0, (#ARGV - 3) / 3 - 1 do
  k = endpoint_keys(2 + 7 * n)
  results[n + 1] = guarded(serve, ARGV[4 + 3 * n], tonumber(ARGV[5 + 3 * n]), tonumber(ARGV[6 + 3 * n]))
end
return results
