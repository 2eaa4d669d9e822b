#!lua
-- One step of a replay: owes a page of events to the endpoint, each once per job, and notes how far it has come.
-- KEYS: as job.lua has them, then the job's index of the log partition (stream), then per event: o, b
-- ARGV: as job.lua has them, then: cursor at the end of the page, `1` if that is the job's end, events known to be gone
-- by then, log partition, then per event: ms, seq, id, app, topic, type, request id, body, cursor behind it
-- Returns: `ok`, `full` (the endpoint has enough to do: the rest has to wait), `ended` (the job), or `moved` (another
-- worker has gone on with it); then the deliveries owed.
-- include delivery
-- include job
local k = endpoint_keys()
local e = read_endpoint(k)
local answer = refused(e)
if answer then return {answer, 0} end
local left, owed, cursor, is_full = room(k, e), 0, ARGV[9], false

local function owe(a, o, b)
  local position, topic = ARGV[a] .. '-' .. ARGV[a + 1], ARGV[a + 4]
  local ref = ARGV[12] .. '-' .. position .. '-' .. number
  if redis.call('HEXISTS', o, ep) == 1 then return end
  redis.call('HSET', o, 'i', ARGV[a + 2], 'a', ARGV[a + 3], 't', topic, 'y', ARGV[a + 5], 'q', ARGV[a + 6])
  redis.call('SET', b, ARGV[a + 7])
  -- As a retry that is due: while fresh work waits, it gets at most half of a claim.
  if e.ordered == '1' then owe_in_order(k, topic, ref) else redis.call('ZADD', k.r, now, ref .. '|1|0') end
  redis.call('HINCRBY', o, 'n', 1)
  redis.call('HSET', o, ep, string.format('p 0 0 0 %.0f ', now))
  redis.pcall('XADD', KEYS[13], position, 'p', '')
  owed = owed + 1
end

local key = 14
for a = 13, #ARGV, 9 do
  if owed >= left then
    is_full, cursor = true, a == 13 and ARGV[3] or ARGV[a - 1]
    break
  end
  owe(a, KEYS[key], KEYS[key + 1])
  key = key + 2
end
if owed > 0 then
  redis.call('EXPIRE', KEYS[13], keep)
  if e.state == 'on' then redis.call('ZADD', k.sched, 'LT', now, ep) end
end
-- What is gone lies before the page's first event, so it is counted with that.
local gone = (cursor == ARGV[3]) and 0 or tonumber(ARGV[11])
return {move(e, cursor, ARGV[10] == '1', is_full, owed, 0, gone), owed}
