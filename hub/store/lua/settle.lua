#!lua flags=allow-oom
-- Records how attempts of endpoints ended and what follows. Removing the lease is the fence: one that was taken back
-- changes nothing any more.
-- KEYS: sched, tick, hist, out, then per endpoint: e, f, r, l, h, w, c, s, and then per attempt of it: o, b
-- ARGV: retention of the records in s, the breaker's policy (failures, within ms, first pause in ms, longest pause in ms,
-- ms of nothing but failure that disable, ms without an attempt after which these start anew), numbers of a bucket of
-- figures, then per endpoint: its id, the number of its attempts, and per attempt: lease, verdict, ms until the next try,
-- record (JSON, or empty when nothing was sent), what it says of the endpoint (`ok`, `alive`, `down`, or empty), what it
-- counts as (see core/tally.py), the endpoint's version by which it was sent (or empty)
-- Verdicts: `ok`; `retry` at the given time; `exhausted`; `gone` (the endpoint is disabled and what it is owed cancelled);
-- `drop` (the entry was stale: the delivery had ended, or was retried by hand since); `back` (it was not sent, and waits
-- again as before). What was sent to a URL that the endpoint has no more says nothing of it: `gone` is then tried again at
-- once.
-- Returns the number of operational events reported, then per endpoint: `error` and the reason when its keys can't be used,
-- otherwise per attempt 1 (recorded) or 0 (the lease was lost).
-- include delivery
-- include tally
local hist, outbox, now, keep = KEYS[3], KEYS[4], store_ms(), tonumber(ARGV[1])
local policy = {failures = tonumber(ARGV[2]), within = tonumber(ARGV[3]), pause = tonumber(ARGV[4]),
  longest = tonumber(ARGV[5]), disable = tonumber(ARGV[6]), idle = tonumber(ARGV[7])}
local size, reported = tonumber(ARGV[8]), 0
local k, ep, e, dying, counts  -- of the endpoint that is served

local function tell(kind, o, ref, reason)
  local event = redis.call('HMGET', o, 'a', 'i', 'y')
  if not event[1] or is_operational(event[3]) then return false end
  report(outbox, kind, event[1], ep, ref, event[2], reason)
  reported = reported + 1
  return true
end

local function disable(o, why)
  if dying or (why ~= 'gone' and e.state ~= 'on') then return end
  dying, e.state, e.why = why == 'gone', 'off', why
  redis.call('HSET', k.e, 'state', 'off', 'why', why)
  tell('hub.endpoint.disabled', o, '', why)
end

local function close()
  redis.call('HDEL', k.e, 'down', 'fails', 'open', 'pause', 'probe')
  e.open, e.probe = nil, nil
end

local function open(pause)
  redis.call('HSET', k.e, 'open', string.format('%.0f', now + pause), 'pause', pause)
  redis.call('HDEL', k.e, 'probe')
  e.open, e.probe = now + pause, nil
end

-- The breaker: it opens after so many failures in a row over so long a time, and longer each time that its probe fails.
-- What was under way when it opened changes nothing, unless it shows that the endpoint answers.
local function count(lease, o)
  local v = redis.call('HMGET', k.e, 'down', 'fails', 'pause')
  if e.open then
    if e.probe == lease then open(math.min(2 * tonumber(v[3]), policy.longest)) end
    return
  end
  local down, fails = tonumber(v[1] or now), tonumber(v[2] or '0') + 1
  redis.call('HSET', k.e, 'down', string.format('%.0f', down), 'fails', fails)
  if fails < policy.failures or now - down < policy.within then return end
  open(policy.pause)
  if not e.told and tell('hub.endpoint.failing', o, '', '') then
    e.told = '1'
    redis.call('HSET', k.e, 'told', '1')
  end
end

local function judge(says, lease, o)
  if says == 'ok' then
    if not (e.failing or e.told) then return end
    close()
    redis.call('HDEL', k.e, 'failing', 'failed', 'told')
    if e.told then tell('hub.endpoint.recovered', o, '', '') end
    e.failing, e.told = nil, nil
    return
  end
  local failed = tonumber(redis.call('HGET', k.e, 'failed') or '0')
  if not e.failing or now - failed > policy.idle then e.failing = now end
  redis.call('HSET', k.e, 'failing', string.format('%.0f', e.failing), 'failed', string.format('%.0f', now))
  if says == 'down' then count(lease, o) else close() end
  if now - e.failing >= policy.disable then disable(o, 'failing') end
end

local function put_back(lease)
  redis.call('ZREM', k.c, lease)
  local entry, attempt = string.match(lease, '^([^|]*|(%d+)|%d+)|')
  if attempt == '1' then redis.call('LPUSH', k.f, entry) else redis.call('ZADD', k.r, now, entry) end
end

local function add(place)
  counts[place] = (counts[place] or 0) + 1
end

local function count_attempt(as)
  add(1 + math.floor(as / 100))
  add(8 + as % 100)
end

local function settle(lease, verdict, due_in, record, says, as, version, o, b)
  if redis.call('ZREM', k.l, lease) == 0 then return 0 end
  if e.moved and version ~= '' and tonumber(version) < e.moved then
    says = ''
    if verdict == 'gone' then verdict, due_in = 'retry', 0 end
  end
  if verdict == 'back' then
    put_back(lease)
    return 1
  end
  local ref, attempt, generation = string.match(lease, '^(.-)|(%d+)|(%d+)|')
  local rec = read_record(o, ep)
  if e.state and says ~= '' then judge(says, lease, o) end
  if verdict == 'gone' then disable(o, 'gone') end
  if record == '' then redis.call('ZREM', k.c, lease) end
  if rec and record ~= '' then
    local id = redis.call('XADD', hist, 'MINID', '~', string.format('%.0f', now - keep * 1000), '*', 'a', record)
    rec.history = rec.history == '' and id or rec.history .. ',' .. id
    rec.attempts = math.max(rec.attempts, tonumber(attempt))
    count_attempt(tonumber(as))
  end
  if not rec or verdict == 'drop' then
    -- there is nothing to record
  elseif rec.status ~= 'p' or rec.generation ~= tonumber(generation) then
    write_record(o, ep, rec)  -- it was cancelled meanwhile: the attempt is shown, the end stays
  elseif verdict == 'ok' then
    end_delivery(o, b, ep, rec, 's', now, keep)
    add(7)
  elseif verdict == 'gone' or (verdict == 'retry' and dying) then
    end_delivery(o, b, ep, rec, 'c', now, keep)
    add(size)
  elseif verdict == 'exhausted' then
    end_delivery(o, b, ep, rec, 'x', now, keep)
    add(8)
    tell('hub.delivery.exhausted', o, ref, '')
  else
    rec.at = now + tonumber(due_in)
    write_record(o, ep, rec)
    redis.call('ZADD', k.r, rec.at, ref .. '|' .. (attempt + 1) .. '|' .. generation)
    return 1
  end
  if e.ordered then pass_on(k, ref, generation) end
  return 1
end

local function serve(count, arg, key, figures)
  e, counts = read_endpoint(k), {}
  dying = not e.state or is_dying(e.state, e.why)
  local results = {}
  for n = 0, count - 1 do
    local a, o = arg + 7 * n, key + 2 * n
    results[n + 1] = settle(ARGV[a], ARGV[a + 1], ARGV[a + 2], ARGV[a + 3], ARGV[a + 4], ARGV[a + 5], ARGV[a + 6], KEYS[o],
      KEYS[o + 1])
  end
  if e.state and next(counts) then tally(figures, now, counts, size) end
  if e.state then reschedule(k, ep, now, e) end
  return results
end

local results, key, arg = {}, 4, 9
while arg <= #ARGV do
  local count = tonumber(ARGV[arg + 1])
  k, ep = endpoint_keys(key), ARGV[arg]
  results[#results + 1] = guarded(serve, count, arg + 2, key + 9, KEYS[key + 8])
  key, arg = key + 8 + 2 * count, arg + 2 + 7 * count
end
redis.call('EXPIRE', hist, keep)
table.insert(results, 1, reported)
return results
