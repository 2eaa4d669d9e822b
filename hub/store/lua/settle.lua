#!lua flags=allow-oom
-- Records how an endpoint's attempts ended and what follows. Removing the lease is the fence: one that was taken back
-- changes nothing any more.
-- KEYS: sched, tick, e, f, r, l, hist, out, then per attempt: o, b
-- ARGV: endpoint id, retention of the records in s, then per attempt: lease, verdict, ms until the next try, record (JSON, or
-- empty when nothing was sent)
-- Verdicts: `ok`; `retry` at the given time; `exhausted`; `gone` (the endpoint is disabled and what it is owed cancelled);
-- `drop` (the entry was stale: the delivery had ended, or was retried by hand since).
-- Returns: per attempt 1 (recorded) or 0 (the lease was lost), then the number of operational events reported.
-- include delivery
local k = {sched = KEYS[1], tick = KEYS[2], e = KEYS[3], f = KEYS[4], r = KEYS[5], l = KEYS[6]}
local hist, outbox = KEYS[7], KEYS[8]
local now, ep, keep = store_ms(), ARGV[1], tonumber(ARGV[2])
local e = redis.call('HMGET', k.e, 'state', 'why')
local dying, reported, results = not e[1] or is_dying(e[1], e[2]), 0, {}

local function tell(kind, o, ref, reason)
  local event = redis.call('HMGET', o, 'a', 'i', 'y')
  if event[1] and not is_operational(event[3]) then
    report(outbox, kind, event[1], ep, ref, event[2], reason)
    reported = reported + 1
  end
end

local function disable(o)
  if dying then return end
  dying = true
  redis.call('HSET', k.e, 'state', 'off', 'why', 'gone')
  tell('hub.endpoint.disabled', o, '', 'gone')
end

local function settle(lease, verdict, due_in, record, o, b)
  if redis.call('ZREM', k.l, lease) == 0 then return 0 end
  local ref, attempt, generation = string.match(lease, '^(.-)|(%d+)|(%d+)|')
  local rec = read_record(o, ep)
  if verdict == 'gone' then disable(o) end
  if not rec or verdict == 'drop' then return 1 end
  if record ~= '' then
    local id = redis.call('XADD', hist, 'MINID', '~', string.format('%.0f', now - keep * 1000), '*', 'a', record)
    rec.history = rec.history == '' and id or rec.history .. ',' .. id
    rec.attempts = math.max(rec.attempts, tonumber(attempt))
  end
  if rec.status ~= 'p' or rec.generation ~= tonumber(generation) then
    write_record(o, ep, rec)  -- it was cancelled meanwhile: the attempt is shown, the end stays
  elseif verdict == 'ok' then
    end_delivery(o, b, ep, rec, 's', now, keep)
  elseif verdict == 'gone' or (verdict == 'retry' and dying) then
    end_delivery(o, b, ep, rec, 'c', now, keep)
  elseif verdict == 'exhausted' then
    end_delivery(o, b, ep, rec, 'x', now, keep)
    tell('hub.delivery.exhausted', o, ref, '')
  else
    rec.at = now + tonumber(due_in)
    write_record(o, ep, rec)
    redis.call('ZADD', k.r, rec.at, ref .. '|' .. (attempt + 1) .. '|' .. generation)
  end
  return 1
end

for n = 0, (#ARGV - 2) / 4 - 1 do
  local a = 3 + 4 * n
  results[n + 1] = settle(ARGV[a], ARGV[a + 1], ARGV[a + 2], ARGV[a + 3], KEYS[9 + 2 * n], KEYS[10 + 2 * n])
end
redis.call('EXPIRE', hist, keep)
if e[1] then reschedule(k, ep, now) end
results[#results + 1] = reported
return results
