-- The lists of items that lead to a position of a segment, oldest first, each as {list, its last position}; nil when any
-- of them is gone.
local function find_segment_path(segment_prefix, items_prefix, conversation_prefix, id, position)
  local path = {}
  while id and id ~= '' do
    local items = items_prefix .. id
    position = tonumber(position)
    if redis.call('EXISTS', segment_prefix .. id, conversation_prefix .. id) == 0 then return nil end
    if redis.call('LLEN', items) <= position then return nil end
    table.insert(path, 1, {items, position})
    id, position = unpack(redis.call('HMGET', segment_prefix .. id, 'parent', 'parent_at'))
  end
  return path
end

-- All items of such a path, oldest first, without the empty strings that deleted ones are; and their bytes. Of more
-- than `most` bytes only the number is known, and no more are looked at once there are more than `counted`.
local function read_path(path, most, counted)
  local found, size = {}, 0
  for _, part in ipairs(path) do
    local items, last = unpack(part)
    for first = 0, last, 100 do
      for _, json in ipairs(redis.call('LRANGE', items, first, math.min(first + 99, last))) do
        size = size + #json
        if json ~= '' and size <= most then found[#found + 1] = json end
      end
      if size > most then found = {} end
      if size > counted then return nil, size end
    end
  end
  if size > most then return nil, size end
  return found, size
end

-- All items of a segment up to a position, and before them those that it continues, oldest first; nil when any of
-- them is gone.
local function read_segment_items(segment_prefix, items_prefix, conversation_prefix, id, position)
  local path = find_segment_path(segment_prefix, items_prefix, conversation_prefix, id, position)
  return path and (read_path(path, math.huge, math.huge))
end
