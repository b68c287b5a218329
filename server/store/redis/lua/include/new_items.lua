-- Append packed items to a conversation, without those that it has. Needs packed_items.
local function push_new_items(items, positions, packed)
  for item_id, json in unpack_items(packed) do
    if redis.call('HEXISTS', positions, item_id) == 0 then
      redis.call('HSET', positions, item_id, redis.call('RPUSH', items, json) - 1)
    end
  end
end
