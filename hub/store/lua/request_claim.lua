#!lua
-- Claims an Idempotency-Key for a publish that append.lua can't claim it for: of several partitions, or ephemeral.
-- KEYS: the request (see request_begin.lua)
-- ARGV: fingerprint, s that it is kept
-- Returns: 1 if it is new, 0 if it was claimed before. Errors: REUSED where its fingerprint is another.
-- include requests
local is_new = claim_request(KEYS[1], ARGV[1], ARGV[2])
if is_new == nil then return redis.error_reply(REUSED) end
return is_new and 1 or 0
