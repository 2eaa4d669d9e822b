#!lua flags=allow-oom
-- Trims one delivery partition's attempts by age and by bytes.
-- KEYS: hist   ARGV: oldest ms to keep, most bytes to keep
-- Returns: bytes of the attempts before the trim by bytes.
redis.call('XTRIM', KEYS[1], 'MINID', '~', ARGV[1])
local bytes, most = redis.call('MEMORY', 'USAGE', KEYS[1], 'SAMPLES', 10) or 0, tonumber(ARGV[2])
if bytes > most then
  redis.call('XTRIM', KEYS[1], 'MAXLEN', '~', math.floor(redis.call('XLEN', KEYS[1]) * most * 0.9 / bytes))
end
return bytes
