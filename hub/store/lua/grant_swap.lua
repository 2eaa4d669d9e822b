#!lua flags=allow-oom
-- Replaces an OAuth grant unless another one came between, or ends it; caches of its tokens are void then.
-- KEYS: grant, version
-- ARGV: the grant that was read (empty: whichever is there), the new one (empty: it ends), its life in s, the new version
-- Returns: 1 if it was replaced or ended, else 0.
local known = redis.call('GET', KEYS[1])
if not known or (ARGV[1] ~= '' and known ~= ARGV[1]) then return 0 end
if ARGV[2] == '' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
end
redis.call('SET', KEYS[2], ARGV[4])
return 1
