#!lua flags=allow-oom
-- What a tail checks on every connection and every second: is this still the log that it was reading?
-- KEYS: log, meta   ARGV: the epoch that the reader knows (0: none), the last position that it read (0-0: none)
-- Returns: epoch, last position in the log, trim floor. The epoch is raised (once: by comparing) when the reader's last
-- entry is gone although it was never trimmed: a failover lost it, or the store came back without it.
-- include epoch
local log, meta, known, last = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
local epoch = epoch_of(meta)
local floor = redis.call('HGET', meta, 'floor') or '0-0'
local function number(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(seq)
end
if epoch == known and last ~= '0-0' and #redis.call('XRANGE', log, last, last) == 0 then
  local lm, ls = number(last)
  local fm, fs = number(floor)
  if lm > fm or (lm == fm and ls > fs) then epoch = raise_epoch(meta, tonumber(epoch)) end
end
local newest = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)
return {epoch, newest[1] and newest[1][1] or '0-0', floor}
