-- Included by others. claim_request(key, fingerprint, keep): true where the Idempotency-Key is new, false where the same
-- request came before, nil where another one did (see request_begin.lua). `keep` is in s.
local function claim_request(key, fingerprint, keep)
  local known = redis.call('HGET', key, 'f')
  if known and known ~= fingerprint then return nil end
  redis.call('HSET', key, 'f', fingerprint)
  redis.call('EXPIRE', key, keep)
  return not known
end
local REUSED = 'REUSED the Idempotency-Key came with another request'
