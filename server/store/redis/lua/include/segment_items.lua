-- All items of a segment up to a position, and before them those that it continues, oldest first; nil when any of
-- them is gone. A deleted item is the empty string, and left out.
local function read_segment_items(segment_prefix, items_prefix, conversation_prefix, id, position)
  local path = {}
  for _ = 1, 100 do  -- no history is as deep; one that goes round must not hold up Redis for ever
    if not id or id == '' then break end
    local items = items_prefix .. id
    position = tonumber(position)
    if redis.call('EXISTS', segment_prefix .. id, conversation_prefix .. id) == 0 then return nil end
    if redis.call('LLEN', items) <= position then return nil end
    table.insert(path, 1, {items, position})
    id, position = unpack(redis.call('HMGET', segment_prefix .. id, 'parent', 'parent_at'))
  end
  local found = {}
  for _, part in ipairs(path) do
    local items, last = unpack(part)
    if last >= 0 then
      for _, json in ipairs(redis.call('LRANGE', items, 0, last)) do
        if json ~= '' then found[#found + 1] = json end
      end
    end
  end
  return found
end
