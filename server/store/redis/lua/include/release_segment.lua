-- One user less of a segment: its items, and those it continues, go with the last response, segment or running turn
-- that needs them.
local function release_segment(segment_prefix, items_prefix, id)
  while id and id ~= '' and redis.call('EXISTS', segment_prefix .. id) == 1 do
    if redis.call('HINCRBY', segment_prefix .. id, 'users', -1) > 0 then return end
    local parent = redis.call('HGET', segment_prefix .. id, 'parent')
    redis.call('DEL', segment_prefix .. id, items_prefix .. id)
    id = parent
  end
end
