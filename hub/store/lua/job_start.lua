#!lua
-- Begins a job of an endpoint.
-- KEYS: jobs, job, the endpoint's jobs, e
-- ARGV: endpoint id, number, kind, app, config (JSON), cursor, retention in s, most that run at once, most that are kept
-- Returns: `ok`, `missing` (no such endpoint), `gone` (it answered 410), `many` (too many run).
-- include delivery
local jobs, job, list, now = KEYS[1], KEYS[2], KEYS[3], store_ms()
local state = redis.call('HMGET', KEYS[4], 'state', 'why')
if not state[1] or state[1] == 'deleted' then return 'missing' end
if is_dying(state[1], state[2]) then return 'gone' end
if redis.call('ZCOUNT', list, 1, 1) >= tonumber(ARGV[8]) then return 'many' end
redis.call('HSET', job, 'kind', ARGV[3], 'app', ARGV[4], 'config', ARGV[5], 'state', 'running', 'cursor', ARGV[6],
  'created', string.format('%.0f', now), 'changed', string.format('%.0f', now))
redis.call('ZADD', list, 1, ARGV[2])
redis.call('ZADD', jobs, now, ARGV[1] .. '|' .. ARGV[2])
if redis.call('ZCARD', list) > tonumber(ARGV[9]) then
  local ended, oldest = redis.call('ZRANGE', list, 0, 0, 'BYSCORE'), nil
  for _, number in ipairs(ended) do
    if not oldest or tonumber(number) < tonumber(oldest) then oldest = number end
  end
  if oldest then redis.call('ZREM', list, oldest) end
end
redis.call('EXPIRE', list, ARGV[7])
return 'ok'
