#!lua flags=allow-oom
-- Ends a job that runs: by its owner's wish, or because its steps keep failing.
-- KEYS: as the steps have them   ARGV: endpoint id, number, (empty), retention in s, state, why
-- Returns: `ok`, `missing`, or `ended` (it had ended before).
-- include delivery
-- include job
local state = redis.call('HGET', JOB, 'state')
if not state then return 'missing' end
if state ~= 'running' then return 'ended' end
end_job(ARGV[5], ARGV[6])
return 'ok'
