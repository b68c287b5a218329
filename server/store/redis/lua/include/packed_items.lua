-- Iterates over packed items: the id and the JSON of each, both behind their length (4 bytes, big-endian).
local function unpack_items(packed)
  local at = 1
  return function()
    if at > #packed then return nil end
    local item_id, json
    item_id, json, at = struct.unpack('>I4c0>I4c0', packed, at)
    return item_id, json
  end
end
