-- Included by others. epoch_of(meta): the partition's epoch, made from the store's clock when there is none yet, so
-- that a store that came back empty never gets an epoch that an older cursor could name.
local function store_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function raise_epoch(meta, above)
  local epoch = string.format('%.0f', math.max(store_ms(), above + 1))
  redis.call('HSET', meta, 'epoch', epoch)
  return epoch
end

local function epoch_of(meta)
  return redis.call('HGET', meta, 'epoch') or raise_epoch(meta, 0)
end
