#!lua flags=allow-oom
-- How one partition of the log stands, in numbers alone.
-- KEYS: log, meta, dispatch lease   ARGV: `1` where there are no endpoints (then nothing is to be dispatched)
-- Returns: events, bytes, 1 while appends are held back, age of the oldest event in ms, age of the oldest event that is not
-- dispatched in ms (0: there is none), 1 while a worker dispatches it
local log, meta = KEYS[1], KEYS[2]
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local function age(from)
  local found = redis.call('XRANGE', log, from, '+', 'COUNT', 1)
  return found[1] and math.max(0, now - tonumber(string.match(found[1][1], '^%d+'))) or 0
end
local state = redis.call('HMGET', meta, 'full', 'dispatched')
local bytes = redis.call('EXISTS', log) == 1 and redis.call('MEMORY', 'USAGE', log, 'SAMPLES', 5) or 0
return {redis.call('XLEN', log), bytes, state[1] == '1' and 1 or 0, age('-'),
  ARGV[1] == '1' and 0 or age('(' .. (state[2] or '0-0')), redis.call('EXISTS', KEYS[3])}
