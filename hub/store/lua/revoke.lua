#!lua flags=allow-oom
-- Remembers that a credential was revoked, and tells every web process: both or neither.
-- KEYS: mark, control stream   ARGV: moment in ms, life of the mark in s, length of the stream, kind, app, notice
-- Returns: nothing. A later moment than the one given stays.
-- A revocation must not wait for room in a full store.
local known = redis.call('GET', KEYS[1])
if not known or tonumber(known) < tonumber(ARGV[1]) then
  redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
end
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], '*', 'k', ARGV[4], 'a', ARGV[5], 'd', ARGV[6])
