#!lua
-- Appends events to one partition's log, each once per (app, topic, id) within the retention.
-- KEYS: log, meta, the request (only with a fingerprint), then per event: seen (hash by event id), topic index (stream)
-- ARGV: retention in seconds, fingerprint of an Idempotency-Key's request (empty: none), and the events in MessagePack,
--   which costs a caller with many less than arguments do: an array of arrays of app, topic, type, id, timestamp,
--   origin, body
-- Returns: epoch, then per event its position; of one that was there already `=position timestamp type`, the first's.
-- Errors: LOGFULL while the janitor holds the log for full; REUSED where the request's fingerprint is another. Nothing is
-- appended then.
-- An index lives for the retention behind its last entry, by the clock that made that entry's position. So position and
-- retention tell which entries an index surely names (Log.indexed_above); the log may hold older ones.
-- include epoch
-- include requests
local log, meta, retention = KEYS[1], KEYS[2], ARGV[1]
local state = redis.call('HMGET', meta, 'full', 'floor', 'retention')
if state[1] == '1' then return redis.error_reply('LOGFULL the janitor holds appends back') end
local before = 2
if ARGV[2] ~= '' then
  if claim_request(KEYS[3], ARGV[2], retention) == nil then return redis.error_reply(REUSED) end
  before = 3
end
local out = {epoch_of(meta)}
if state[3] ~= retention then
  -- Indexes written with a shorter one end earlier than the new one says.
  if tonumber(state[3] or '0') < tonumber(retention) then redis.call('HSET', meta, 'indexed', store_ms()) end
  redis.call('HSET', meta, 'retention', retention)
end
for n, event in ipairs(cmsgpack.unpack(ARGV[3])) do
  local seen, index = KEYS[before + 2 * n - 1], KEYS[before + 2 * n]
  local app, topic, kind, event_id, timestamp, origin, body = unpack(event)
  local first = redis.call('HGET', seen, topic)
  if first then
    out[#out + 1] = '=' .. first
  else
    local id = redis.call('XADD', log, '*', 'a', app, 't', topic, 'y', kind, 'i', event_id, 'r', origin, 'e', body)
    local ms = string.match(id, '^%d+')
    redis.call('HSET', seen, topic, id .. ' ' .. timestamp .. ' ' .. kind)
    -- An index that refuses names entries of a log that was lost (its last id is ahead of this log's): it begins again.
    local added = redis.pcall('XADD', index, 'MINID', '~', state[2] or '0', id, 'p', '')
    if type(added) == 'table' then
      redis.call('DEL', index)
      redis.call('XADD', index, id, 'p', '')
      redis.call('HSET', meta, 'indexed', ms)
    end
    redis.call('PEXPIREAT', index, string.format('%.0f', ms + retention * 1000))
    out[#out + 1] = id
  end
  -- A duplicate renews its key as well: a write, so that the durability wait behind it covers it.
  redis.call('EXPIRE', seen, retention)
end
return out
