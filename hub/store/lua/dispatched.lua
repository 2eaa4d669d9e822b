#!lua flags=allow-oom
-- Moves the position up to which dispatch has enqueued one log partition: forward only, but never above what exists.
-- KEYS: log, meta   ARGV: the epoch that the reader knows, the position that it read from, the one that it has done
-- (0-0 both: only ask)
-- Returns: the partition's epoch, the position now. Nothing moves for a reader of another epoch. The epoch is raised when
-- the position, or the entry that the reader read from, is gone although it was never trimmed: a failover lost it, and new
-- entries may take places that were applied already.
-- include epoch
local log, meta = KEYS[1], KEYS[2]
local function parse(position)
  local ms, seq = string.match(position, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(seq)
end
local function is_above(one, other)
  local ms, seq = parse(one)
  local ms2, seq2 = parse(other)
  return ms > ms2 or (ms == ms2 and seq > seq2)
end
local epoch = epoch_of(meta)
local state = redis.call('HMGET', meta, 'dispatched', 'floor')
local position, floor = state[1] or '0-0', state[2] or '0-0'
local newest = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
local top = newest and is_above(newest[1], floor) and newest[1] or floor
local is_mine = epoch == ARGV[1]
local is_lost = is_mine and is_above(ARGV[2], floor) and #redis.call('XRANGE', log, ARGV[2], ARGV[2]) == 0
if is_above(position, top) then
  position, is_lost = top, true
  redis.call('HSET', meta, 'dispatched', position)
end
if is_lost then
  epoch = raise_epoch(meta, tonumber(epoch))
elseif is_mine and is_above(ARGV[3], position) and not is_above(ARGV[3], top) then
  position = ARGV[3]
  redis.call('HSET', meta, 'dispatched', position)
end
return {epoch, position}
