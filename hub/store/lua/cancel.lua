#!lua flags=allow-oom
-- Cancels one pending delivery. Its entry stays in the queue and is dropped when a worker claims it.
-- KEYS: o, b   ARGV: endpoint id, retention of the records in s
-- Returns: `ok`, `missing`, or `ended` (it was not pending any more).
-- include delivery
local rec = read_record(KEYS[1], ARGV[1])
if not rec then return 'missing' end
if rec.status ~= 'p' then return 'ended' end
end_delivery(KEYS[1], KEYS[2], ARGV[1], rec, 'c', store_ms(), tonumber(ARGV[2]))
return 'ok'
