#!lua
-- Writes an endpoint's truth, if nobody changed it since it was read. A new one goes away by itself unless it is kept.
-- KEYS: sched, e, asks
-- ARGV: endpoint id, version that was read (0: it is new), configuration (JSON), most in flight, timeout in ms (empty: the
-- default), `1` to enable, `0` to disable, empty to leave that as it is, `1` if it is ordered, rate limit and its period in
-- ms (empty: none), `1` to forget its failures, s that a new one lives, `1` if its target has to agree before anything is
-- sent, a secret for when it is to be asked anew, `1` if it is another target, most
-- that it may owe
-- One that has to agree is off until it has (see handshake_end.lua): `permit` is the origin that it agreed to, `allow` and
-- `span` the rate limit; `nonce` names what it is asked now, `asks` how often, `asked` when, `again` when next, `refusal` why not.
-- Returns: the new version; 0 when there is no such endpoint; -1 when the version is another.
-- include delivery
local key = KEYS[2]
local e = redis.call('HMGET', key, 'version', 'state', 'ordered')
if e[2] == 'deleted' or (not e[1] and ARGV[2] ~= '0') then return 0 end
if (e[1] or '0') ~= ARGV[2] then return -1 end
local function set_or_drop(name, value)
  if value == '' then redis.call('HDEL', key, name) else redis.call('HSET', key, name, value) end
end
redis.call('HSET', key, 'config', ARGV[3], 'cap', ARGV[4], 'backlog', ARGV[15])
set_or_drop('timeout', ARGV[5])
if ARGV[6] == '1' then
  redis.call('HSET', key, 'state', 'on', 'why', '')
elseif ARGV[6] == '0' then
  redis.call('HSET', key, 'state', 'off', 'why', 'manual')
end
if ARGV[7] == '1' or e[3] then redis.call('HSET', key, 'ordered', ARGV[7] == '1' and '1' or '0') end
set_or_drop('limit', ARGV[8])
set_or_drop('period', ARGV[9])
if ARGV[10] == '1' then redis.call('HDEL', key, 'down', 'fails', 'open', 'pause', 'probe', 'failing', 'failed') end
if not e[1] then redis.call('EXPIRE', key, ARGV[11]) end
if ARGV[12] == '' or ARGV[14] == '1' then
  redis.call('HDEL', key, 'permit', 'allow', 'span', 'rate', 'nonce', 'asks', 'asked', 'again', 'refusal')
end
if ARGV[14] == '1' then redis.call('HSET', key, 'moved', (e[1] or 0) + 1) end
local now = redis.call('HMGET', key, 'state', 'why', 'permit', 'nonce')
local waits = now[2] == 'handshake'
if ARGV[12] == '1' and not now[3] and (now[1] == 'on' or waits) then
  redis.call('HSET', key, 'state', 'off', 'why', 'handshake')
  if not now[4] then redis.call('HSET', key, 'nonce', ARGV[13]) end
  if now[1] == 'on' or not now[4] then
    redis.call('HSET', key, 'asks', 0)
    redis.call('ZADD', KEYS[3], store_ms(), ARGV[1])
  end
else
  redis.call('ZREM', KEYS[3], ARGV[1])
  redis.call('HDEL', key, 'again')
  if waits then redis.call('HSET', key, 'state', 'on', 'why', '') end
end
redis.call('ZADD', KEYS[1], 'LT', store_ms(), ARGV[1])
return redis.call('HINCRBY', key, 'version', 1)
