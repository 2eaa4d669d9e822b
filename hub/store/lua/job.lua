-- Included by the steps of jobs. A job is a hash: kind, app, config (JSON), state (`running`, `completed`, `cancelled` or
-- `failed`), cursor (how far it has come: what it did before that is done, once), owed, hastened, expired, created,
-- changed, ended, tries (steps that failed in a row), why.
-- A step takes the cursor that its worker read. Another worker may have gone on meanwhile; then the step does nothing.
-- KEYS 1 to 9 are those of the endpoint (see endpoint_keys), then: jobs, job, the endpoint's jobs.
-- ARGV: endpoint id, number, cursor that was read, retention of the records in s, most that the endpoint may owe if it names
-- no number, most of its retries that may be due, ms until others may take the job over, ms to wait when there is no room
local SHARE = 0.9  -- of what the endpoint may owe: jobs wait, where what is published would disable it
local JOBS, JOB, LIST = KEYS[10], KEYS[11], KEYS[12]
local ep, number, keep = ARGV[1], ARGV[2], tonumber(ARGV[4])
local now = store_ms()
local member = ep .. '|' .. number

local function end_job(state, why)
  redis.call('HSET', JOB, 'state', state, 'ended', string.format('%.0f', now), 'why', why)
  redis.call('EXPIRE', JOB, keep)
  redis.call('ZREM', JOBS, member)
  redis.call('ZADD', LIST, 'XX', 0, number)
  redis.call('EXPIRE', LIST, keep)
end

-- Whether the step is to do anything, or what to answer.
local function refused(e)
  local job = redis.call('HMGET', JOB, 'state', 'cursor')
  if job[1] ~= 'running' then
    redis.call('ZREM', JOBS, member)
    return 'ended'
  end
  if job[2] ~= ARGV[3] then return 'moved' end
  if not e.state or is_dying(e.state, e.why) then
    end_job('cancelled', (not e.state or e.state == 'deleted') and 'the endpoint was deleted' or 'the endpoint answered 410')
    return 'ended'
  end
end

-- How many more may be owed now: a job leaves the endpoint's limit room for what is published, and its queue for the
-- retries that are due.
local function room(k, e)
  local most = math.max(1, math.floor(SHARE * (e.backlog or ARGV[5])))
  local owed = redis.call('LLEN', k.f) + redis.call('ZCARD', k.r) + redis.call('ZCARD', k.l) + redis.call('ZCARD', k.w)
  local due = redis.call('ZCOUNT', k.r, '-inf', now) + redis.call('ZCARD', k.w)
  if e.ordered == '1' then due = due + redis.call('LLEN', k.f) end
  return math.max(0, math.min(most - owed, tonumber(ARGV[6]) - due))
end

local function move(e, cursor, is_done, is_full, owed, hastened, expired)
  redis.call('HSET', JOB, 'cursor', cursor, 'changed', string.format('%.0f', now), 'tries', 0,
    'why', is_full and 'the endpoint has enough to do' or '')
  if owed > 0 then redis.call('HINCRBY', JOB, 'owed', owed) end
  if hastened > 0 then redis.call('HINCRBY', JOB, 'hastened', hastened) end
  if expired > 0 then redis.call('HINCRBY', JOB, 'expired', expired) end
  if is_done and not is_full then
    end_job('completed', '')
    return 'ended'
  end
  local wait = tonumber(is_full and ARGV[8] or ARGV[7])
  -- Of one that takes nothing now there is no need to ask so often.
  if is_full and (e.state ~= 'on' or e.open) then wait = 25 * wait end
  redis.call('ZADD', JOBS, now + wait, member)
  redis.call('EXPIRE', LIST, keep)
  return is_full and 'full' or 'ok'
end
