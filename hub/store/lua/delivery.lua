-- Included by others: what the scripts of one delivery partition share. Times are in ms by the store's clock.
--
-- A queued delivery is the text `REF|attempt|generation`; a lease has `|nonce` behind it. The generation grows with every
-- manual retry, so an entry that an older one left in a queue is known for stale.
-- An event's record (hash `o`): i, a, t, y, q (id, app, topic, type, request id), n (deliveries owed), k (ended without
-- success), and per endpoint `status attempts generation base at history`: status p, s, x or c (pending, succeeded,
-- exhausted, cancelled), the last attempt's number, the number before this generation's first, when it is due or ended,
-- and the ids of its attempts in `hist`, joined by commas.
local function store_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
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

-- Sets when the endpoint next needs a worker: at once, at its next retry, or when its earliest lease ends. k: its keys.
local function reschedule(k, ep, now)
  local e = redis.call('HMGET', k.e, 'state', 'why', 'cap')
  local leased, fresh = redis.call('ZCARD', k.l), redis.call('LLEN', k.f)
  local retry = redis.call('ZRANGE', k.r, 0, 0, 'WITHSCORES')[2]
  local dying, need = is_dying(e[1], e[2]), nil
  if dying then
    if fresh > 0 or retry then need = now end
  elseif e[1] == 'on' and leased < tonumber(e[3]) then
    if fresh > 0 then need = now elseif retry then need = math.max(now, tonumber(retry)) end
  end
  if leased > 0 then
    local grace = tonumber(redis.call('HGET', k.tick, 'grace') or '0')
    local ends = math.max(tonumber(redis.call('ZRANGE', k.l, 0, 0, 'WITHSCORES')[2]), grace)
    if not need or ends < need then need = ends end
  end
  if need then redis.call('ZADD', k.sched, need, ep) else redis.call('ZREM', k.sched, ep) end
  if not need and e[1] == 'deleted' then redis.call('UNLINK', k.e) end
end
