-- Included by others: what the scripts of one delivery partition share. Times are in ms by the store's clock.
--
-- A queued delivery is the text `REF|attempt|generation`; a lease has `|nonce` behind it. The generation grows with every
-- manual retry, so an entry that an older one left in a queue is known for stale. REF is `partition-ms-seq`, and
-- `-origin` where a job or a test owes it: that is a delivery of its own, with its own record and bytes.
-- An event's record (hash `o`): i, a, t, y, q (id, app, topic, type, request id), n (deliveries owed), k (ended without
-- success), and per endpoint `status attempts generation base at history`: status p, s, x or c (pending, succeeded,
-- exhausted, cancelled), the last attempt's number, the number before this generation's first, when it is due or ended,
-- and the ids of its attempts in `hist`, joined by commas.
local function store_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- An endpoint's keys, named in this order behind the `before` first ones (default 2: sched and tick, which always come first).
local function endpoint_keys(before)
  local n = before or 2
  return {sched = KEYS[1], tick = KEYS[2], e = KEYS[n + 1], f = KEYS[n + 2], r = KEYS[n + 3], l = KEYS[n + 4],
    h = KEYS[n + 5], w = KEYS[n + 6], c = KEYS[n + 7]}
end

-- Scripts that serve several endpoints in one call guard each: what is wrong with one stops no other. Returns what the
-- function does, or `error` and the reason.
local function guarded(serve, ...)
  local ok, result = pcall(serve, ...)
  if ok then return result end
  return {'error', type(result) == 'table' and result.err or tostring(result)}
end

-- An endpoint's state. `ordered` is 1 while it is, 0 once it was; `limit` and `period` (ms) are its rate limit; `open` is
-- until when its breaker is open, `probe` the lease that tries it after that, `told` that its failing was reported. `backlog`
-- is the most that it may owe, `moved` the version that gave it another URL, `windows` are the limits on its claims, the
-- owner's and the one that its target agreed to, and `longest` the longest of their periods.
local function read_endpoint(k)
  local v = redis.call('HMGET', k.e, 'state', 'why', 'cap', 'version', 'timeout', 'turn', 'ordered', 'limit', 'period',
    'open', 'probe', 'failing', 'told', 'allow', 'span', 'backlog', 'moved')
  local windows, longest = {}, nil
  for _, n in ipairs({8, 14}) do
    if v[n] then
      local period = tonumber(v[n + 1])
      windows[#windows + 1] = {limit = tonumber(v[n]), period = period}
      longest = math.max(longest or 0, period)
    end
  end
  return {state = v[1], why = v[2], cap = tonumber(v[3] or '0'), version = v[4], timeout = v[5], turn = v[6],
    ordered = v[7], windows = windows, longest = longest, open = tonumber(v[10]),
    backlog = tonumber(v[16]), moved = tonumber(v[17]), probe = v[11], failing = tonumber(v[12]), told = v[13]}
end

local function read_record(o, ep)
  local text = redis.call('HGET', o, ep)
  if not text then return nil end
  local status, attempts, generation, base, at, history = string.match(text, '^(%a) (%d+) (%d+) (%d+) (%d+) ?(.*)$')
  return {status = status, attempts = tonumber(attempts), generation = tonumber(generation), base = tonumber(base),
    at = tonumber(at), history = history}
end

local function write_record(o, ep, rec)
  redis.call('HSET', o, ep, string.format('%s %d %d %d %.0f %s', rec.status, rec.attempts, rec.generation, rec.base,
    rec.at, rec.history))
end

-- Ends a pending delivery. When the event owes no more, its record gets its time to live; its bytes too if a delivery
-- may still be retried by hand, otherwise they are freed.
local function end_delivery(o, b, ep, rec, status, now, keep)
  rec.status, rec.at = status, now
  write_record(o, ep, rec)
  local failed = tonumber(redis.call('HINCRBY', o, 'k', status == 's' and 0 or 1))
  if redis.call('HINCRBY', o, 'n', -1) > 0 then return end
  redis.call('EXPIRE', o, keep)
  if failed > 0 then redis.call('EXPIRE', b, keep) else redis.call('UNLINK', b) end
end

-- Operational events wait in the outbox until a worker has appended them to the log.
local function report(out, kind, app, ep, ref, event, reason)
  redis.call('XADD', out, 'MAXLEN', '~', 10000, '*', 'kind', kind, 'app', app, 'endpoint', ep, 'ref', ref,
    'event', event, 'reason', reason)
end

local function is_operational(kind)
  return string.sub(kind, 1, 4) == 'hub.'
end

-- An endpoint that was deleted, or answered 410, owes nothing: what is queued for it is cancelled in slices.
local function is_dying(state, why)
  return state == 'deleted' or why == 'gone'
end

-- In an ordered endpoint's queues (f, r, l) there is one delivery of each topic, its head; the others wait in `w` as
-- `topic|number|entry`, in order. `h` has two fields per head: topic to `REF|generation`, and the other way.
local function owe_in_order(k, topic, ref, attempt, generation)
  local head, entry = ref .. '|' .. (generation or 0), ref .. '|' .. (attempt or 1) .. '|' .. (generation or 0)
  if redis.call('HEXISTS', k.h, topic) == 1 then
    local number = redis.call('HINCRBY', k.e, 'number', 1)
    redis.call('ZADD', k.w, 0, string.format('%s|%016d|%s', topic, number, entry))
  else
    redis.call('HSET', k.h, topic, head, head, topic)
    redis.call('RPUSH', k.f, entry)
  end
end

-- A delivery has ended: if it was its topic's head, the topic's next one takes its place.
local function pass_on(k, ref, generation)
  local head = ref .. '|' .. generation
  local topic = redis.call('HGET', k.h, head)
  if not topic then return end
  redis.call('HDEL', k.h, head)
  local waiting = redis.call('ZRANGE', k.w, '[' .. topic .. '|', '(' .. topic .. '}', 'BYLEX', 'LIMIT', 0, 1)[1]
  if not waiting then
    redis.call('HDEL', k.h, topic)
    return
  end
  redis.call('ZREM', k.w, waiting)
  local entry = string.match(waiting, '^[^|]*|%d+|(.*)$')
  head = string.gsub(entry, '|%d+|', '|', 1)
  redis.call('HSET', k.h, topic, head, head, topic)
  redis.call('RPUSH', k.f, entry)
end

-- From when on the breaker and the rate limit let an endpoint be claimed from; nil while the breaker's probe is out.
-- `c` has the claims of the longest period by their time. They are in whole ms, so one more makes sure of a period.
local function allowed_from(k, e, now)
  local from = now
  if e.open then
    if e.probe and redis.call('ZSCORE', k.l, e.probe) then return nil end
    from = math.max(from, e.open)
  end
  for _, one in ipairs(e.windows) do
    local over = redis.call('ZCARD', k.c) - one.limit
    if over >= 0 then
      from = math.max(from, tonumber(redis.call('ZRANGE', k.c, over, over, 'WITHSCORES')[2]) + one.period + 1)
    end
  end
  return from
end

-- Sets when the endpoint next needs a worker: at once, at its next retry, when its breaker or its rate limit allows, or
-- when its earliest lease ends. `e` is the endpoint's state as it is now.
local function reschedule(k, ep, now, e)
  local leased, fresh = redis.call('ZCARD', k.l), redis.call('LLEN', k.f)
  local retry = redis.call('ZRANGE', k.r, 0, 0, 'WITHSCORES')[2]
  local dying, need = is_dying(e.state, e.why), nil
  if dying then
    if fresh > 0 or retry or redis.call('ZCARD', k.w) > 0 then need = now end
  elseif e.state == 'on' and leased < e.cap and (fresh > 0 or retry) then
    need = allowed_from(k, e, now)
    if need and fresh == 0 then need = math.max(need, tonumber(retry)) end
  end
  if leased > 0 then
    local grace = tonumber(redis.call('HGET', k.tick, 'grace') or '0')
    local ends = math.max(tonumber(redis.call('ZRANGE', k.l, 0, 0, 'WITHSCORES')[2]), grace)
    if not need or ends < need then need = ends end
  end
  if need then redis.call('ZADD', k.sched, need, ep) else redis.call('ZREM', k.sched, ep) end
  if not need and e.state == 'deleted' then redis.call('UNLINK', k.e) end
end
