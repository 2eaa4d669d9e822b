-- Included by settle, cancel, purge and traffic: figures (see core/tally.py), in the hash `s`. `now` is the bucket of the present
-- 5 minutes; when they have passed, it is added to the rings `m`, `h` and `d`, whose buckets are overwritten in turn.
local TALLY_SLOT, TALLY_LIFE = 300000, 8 * 86400
local TALLY_RINGS = {{'m', 1, 12}, {'h', 12, 24}, {'d', 288, 7}}

local function tally_pass(s, bucket)
  for _, ring in ipairs(TALLY_RINGS) do
    local number = math.floor(bucket[1] / ring[2])
    local field = ring[1] .. number % ring[3]
    local text = redis.call('HGET', s, field)
    local sum = text and cmsgpack.unpack(text)
    if not sum or sum[1] ~= number or #sum ~= #bucket then
      sum = {number}
      for n = 2, #bucket do sum[n] = 0 end
    end
    for n = 2, #bucket do sum[n] = sum[n] + bucket[n] end
    redis.call('HSET', s, field, cmsgpack.pack(sum))
  end
end

-- `counts` is index to how much more; a bucket has `size` numbers.
local function tally(s, now, counts, size)
  local slot, text = math.floor(now / TALLY_SLOT), redis.call('HGET', s, 'now')
  local bucket = text and cmsgpack.unpack(text)
  local is_new = not bucket or bucket[1] ~= slot or #bucket ~= size
  if is_new then
    if bucket then tally_pass(s, bucket) end
    bucket = {slot}
    for n = 2, size do bucket[n] = 0 end
  end
  for n, more in pairs(counts) do bucket[n] = bucket[n] + more end
  redis.call('HSET', s, 'now', cmsgpack.pack(bucket))
  if is_new then redis.call('EXPIRE', s, TALLY_LIFE) end
end
