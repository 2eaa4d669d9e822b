#!lua
-- One step of a recovery: owes a page of exhausted deliveries once more, brings forward those that wait for their next
-- attempt after a failure, and notes how far it has come.
-- KEYS: as job.lua has them, then per delivery: o, b
-- ARGV: as job.lua has them, then: cursor at the end of the page, `1` if that is the job's end, attempts that a delivery
-- may have lost with its workers, then per delivery: reference, the event's bytes for when they were freed (empty: not
-- known), cursor behind it
-- Returns: as replay.lua
-- include delivery
-- include job
local k = endpoint_keys()
local e = read_endpoint(k)
local answer = refused(e)
if answer then return {answer, 0} end
local left, owed, hastened, expired, cursor, is_full = room(k, e), 0, 0, 0, ARGV[9], false

local function owe_again(rec, ref, body, o, b)
  if redis.call('EXISTS', b) == 0 then
    if body == '' then
      expired = expired + 1
      return
    end
    redis.call('SET', b, body)
  end
  redis.call('HINCRBY', o, 'k', -1)
  redis.call('HINCRBY', o, 'n', 1)
  redis.call('PERSIST', o)
  redis.call('PERSIST', b)
  rec.status, rec.generation, rec.base, rec.at = 'p', rec.generation + 1, rec.attempts, now
  write_record(o, ep, rec)
  local attempt = rec.attempts + 1
  if e.ordered == '1' then
    owe_in_order(k, redis.call('HGET', o, 't'), ref, attempt, rec.generation)
  else
    redis.call('ZADD', k.r, now, ref .. '|' .. attempt .. '|' .. rec.generation)
  end
  owed = owed + 1
end

local function hasten(rec, ref, o)
  for attempt = rec.attempts + 1, rec.attempts + 1 + tonumber(ARGV[11]) do
    local entry = ref .. '|' .. attempt .. '|' .. rec.generation
    local due = redis.call('ZSCORE', k.r, entry)
    if due then
      if tonumber(due) > now then
        redis.call('ZADD', k.r, now, entry)
        rec.at = now
        write_record(o, ep, rec)
        hastened = hastened + 1
      end
      return
    end
  end
end

local key = 13
for a = 12, #ARGV, 3 do
  if owed + hastened >= left then
    is_full, cursor = true, a == 12 and ARGV[3] or ARGV[a - 1]
    break
  end
  local o, b = KEYS[key], KEYS[key + 1]
  local rec = read_record(o, ep)
  if rec and rec.status == 'x' then
    owe_again(rec, ARGV[a], ARGV[a + 1], o, b)
  elseif rec and rec.status == 'p' and rec.attempts > rec.base then
    hasten(rec, ARGV[a], o)
  end
  key = key + 2
end
if owed + hastened > 0 and e.state == 'on' then redis.call('ZADD', k.sched, 'LT', now, ep) end
return {move(e, cursor, ARGV[10] == '1', is_full, owed, hastened, expired), owed + hastened}
