#!lua
-- Owes a batch of one log partition's events to endpoints of this delivery partition, each (event, endpoint) once.
-- KEYS: sched, applied, out, then per endpoint: e, f, r, l, h, w, index (stream), then per event: o, b
-- ARGV: log partition, its epoch, position to set as applied (`ms-seq`), most that an endpoint may owe that names no number, retention of the
-- records in s, number of endpoints, their ids, then per event: ms, seq, id, app, topic, type, request id, body, and the
-- numbers of its endpoints (counted from 1, joined by spaces)
-- Returns: deliveries enqueued, operational events reported; or -1 when the epoch is older than the one applied last.
-- include delivery
local function parse(position)
  local ms, seq = string.match(position, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(seq)
end
local function is_above(ms, seq, ms2, seq2)
  return ms > ms2 or (ms == ms2 and seq > seq2)
end
local now, source, epoch, limit, keep = store_ms(), ARGV[1], ARGV[2], tonumber(ARGV[4]), tonumber(ARGV[5])
local known, position = string.match(redis.call('HGET', KEYS[2], source) or '0 0-0', '^(%d+) (.*)$')
if tonumber(known) > tonumber(epoch) then return {-1, 0} end
-- In a new epoch positions may lie below what was applied in the old one; what is owed already is known by its record.
local am, as = parse(known == epoch and position or '0-0')
local count = tonumber(ARGV[6])
local endpoints = {}
for n = 1, count do
  local base = 3 + 7 * (n - 1)
  local k = {e = KEYS[base + 1], f = KEYS[base + 2], h = KEYS[base + 5], w = KEYS[base + 6]}
  local e = read_endpoint(k)
  endpoints[n] = {id = ARGV[6 + n], k = k, index = KEYS[base + 7], why = e.why, ordered = e.ordered == '1',
    limit = e.backlog or limit, open = e.state and not is_dying(e.state, e.why), on = e.state == 'on',
    owed = redis.call('LLEN', k.f) + redis.call('ZCARD', KEYS[base + 3]) + redis.call('ZCARD', KEYS[base + 4])
      + redis.call('ZCARD', k.w)}
end
local done, reported, key = 0, 0, 3 + 7 * count
for a = 7 + count, #ARGV, 9 do
  local ms, seq, o, b = tonumber(ARGV[a]), tonumber(ARGV[a + 1]), KEYS[key + 1], KEYS[key + 2]
  local id, app, kind = ARGV[a + 2], ARGV[a + 3], ARGV[a + 5]
  local position_id = ARGV[a] .. '-' .. ARGV[a + 1]
  local ref, added = source .. '-' .. position_id, 0
  key = key + 2
  if is_above(ms, seq, am, as) then
    for number in string.gmatch(ARGV[a + 8], '%d+') do
      local ep = endpoints[tonumber(number)]
      if not ep.open or redis.call('HEXISTS', o, ep.id) == 1 then
        -- it owes nothing, or this already
      elseif ep.owed >= ep.limit then
        if ep.why ~= 'backlog' then
          ep.why, ep.on = 'backlog', false
          redis.call('HSET', ep.k.e, 'state', 'off', 'why', 'backlog')
          if not is_operational(kind) then
            report(KEYS[3], 'hub.endpoint.disabled', app, ep.id, '', '', 'backlog')
            reported = reported + 1
          end
        end
      else
        if added == 0 then
          redis.call('HSET', o, 'i', id, 'a', app, 't', ARGV[a + 4], 'y', kind, 'q', ARGV[a + 6])
          redis.call('PERSIST', o)
          redis.call('SET', b, ARGV[a + 7])
        end
        if ep.ordered then owe_in_order(ep.k, ARGV[a + 4], ref) else redis.call('RPUSH', ep.k.f, ref .. '|1|0') end
        redis.call('HINCRBY', o, 'n', 1)
        redis.call('HSET', o, ep.id, string.format('p 0 0 0 %.0f ', now))
        -- pcall: the index serves listings alone; one that refuses (its last id is ahead after a failover) stops nothing.
        redis.pcall('XADD', ep.index, 'MINID', '~', string.format('%.0f', now - keep * 1000), position_id, 'p', '')
        ep.owed, ep.touched, added = ep.owed + 1, true, added + 1
      end
    end
    done = done + added
  end
end
for n = 1, count do
  local ep = endpoints[n]
  if ep.touched then
    if ep.on then redis.call('ZADD', KEYS[1], 'LT', now, ep.id) end
    redis.call('EXPIRE', ep.index, keep)
  end
end
local em, es = parse(ARGV[3])
if is_above(em, es, am, as) or known ~= epoch then redis.call('HSET', KEYS[2], source, epoch .. ' ' .. ARGV[3]) end
return {done, reported}
