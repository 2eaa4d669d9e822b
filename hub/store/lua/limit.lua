#!lua flags=allow-oom
-- Takes units of one or several rate limits: all of them or none. Nothing that is refused counts.
-- KEYS: one per limit; a string: fixed `window count`, bucket `level at`, sliding cmsgpack of {slot, count, …}
-- ARGV: ms to add to the store's clock (tests), units taken already (they count in any case), units wanted, then per
--   limit: algorithm (fixed, sliding, bucket), limit, period in ms, burst
-- Returns: units granted, then per limit: units left (less than 0: what was taken already went over), ms until it is
--   whole again, ms until one more may be taken
-- In any span of a sliding limit's period, and in each window of a fixed one, at most `limit` units are granted; from a
-- bucket at most burst + limit * span / period.
local SLOTS = 60

-- One counter for windows that follow each other, cut from the epoch on.
local function fixed(raw, now, limit, period)
  local window = now - now % period
  local at, count = string.match(raw or '', '^(%d+) (%d+)$')
  if tonumber(at) ~= window then count = 0 end
  count = tonumber(count)
  local self = {left = limit - count, ttl = window + period - now}
  function self.take(n)
    count = count + n
    return string.format('%.0f %.0f', window, count)
  end
  function self.waits()
    return count > 0 and self.ttl or 0, count >= limit and self.ttl or 0
  end
  return self
end

-- Counts in slots of a 60th of the period. A slot counts until all of it has left the window, so a unit comes back up
-- to a 60th of the period late, and never early.
local function sliding(raw, now, limit, period)
  local width = math.ceil(period / SLOTS)
  local slots, total, slot = {}, 0, math.floor(now / width)
  local known = raw and cmsgpack.unpack(raw) or {}
  for i = 1, #known, 2 do
    if (known[i] + 1) * width > now - period then
      slots[#slots + 1], slots[#slots + 2] = known[i], known[i + 1]
      total = total + known[i + 1]
    end
  end
  local self = {left = limit - total, ttl = period + width}
  function self.take(n)
    total = total + n
    -- A clock that went back counts in the newest slot.
    if #slots > 0 and slots[#slots - 1] >= slot then
      slots[#slots] = slots[#slots] + n
    else
      slots[#slots + 1], slots[#slots + 2] = slot, n
    end
    return cmsgpack.pack(slots)
  end
  local function until_gone(k)
    return (k + 1) * width + period - now
  end
  function self.waits()
    local excess, whole, more = total - limit + 1, 0, 0
    if #slots > 0 then whole = until_gone(slots[#slots - 1]) end
    for i = 1, #slots, 2 do
      if excess <= 0 then break end
      excess, more = excess - slots[i + 1], until_gone(slots[i])
    end
    return whole, more
  end
  return self
end

-- The level is in units * period, so that `limit` more come in each ms and all stays a whole number.
local function bucket(raw, now, limit, period, burst)
  if burst == 0 then burst = limit end
  local level, at = string.match(raw or '', '^(%-?%d+) (%d+)$')
  local full = burst * period
  level = level and math.min(full, tonumber(level) + math.max(0, now - tonumber(at)) * limit) or full
  local self = {left = math.floor(level / period), ttl = math.ceil(full / limit)}
  function self.take(n)
    level = level - n * period
    self.ttl = math.max(1, math.ceil((full - level) / limit))
    return string.format('%.0f %.0f', level, now)
  end
  function self.waits()
    return math.ceil((full - level) / limit), math.max(0, math.ceil((period - level) / limit))
  end
  return self
end

local kinds = {fixed = fixed, sliding = sliding, bucket = bucket}
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000) + tonumber(ARGV[1])
local taken, granted = tonumber(ARGV[2]), tonumber(ARGV[3])
local limits = {}
for i, key in ipairs(KEYS) do
  local a = 4 * i
  limits[i] = kinds[ARGV[a]](redis.call('GET', key), now, tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2]),
    tonumber(ARGV[a + 3]))
  granted = math.max(0, math.min(granted, limits[i].left - taken))
end
local units, out = taken + granted, {granted}
for i, key in ipairs(KEYS) do
  if units > 0 then
    local text = limits[i].take(units)
    redis.call('SET', key, text, 'PX', string.format('%.0f', limits[i].ttl))
  end
  local whole, more = limits[i].waits()
  out[#out + 1], out[#out + 2], out[#out + 3] = limits[i].left - units, whole, more
end
return out
