-- All items up to a place, across the segments that lead to it. Using them renews them.
-- KEYS  1 segment prefix  2 items prefix  3 conversation prefix  4 positions prefix  5 the caller's conversations
-- ARGV  1 segment  2 position  3 lifetime (s)
-- RESULT  items, oldest first, or nil when any of it is gone
local parts, segment, position = {}, ARGV[1], tonumber(ARGV[2])
while segment and segment ~= '' do
  local items = KEYS[2] .. segment
  if redis.call('EXISTS', KEYS[1] .. segment, KEYS[3] .. segment) == 0 then return false end
  if redis.call('LLEN', items) <= position then return false end
  table.insert(parts, 1, {items, position})
  for n = 1, 4 do redis.call('EXPIRE', KEYS[n] .. segment, ARGV[3]) end
  local up = redis.call('HMGET', KEYS[1] .. segment, 'parent', 'parent_at')
  segment, position = up[1], tonumber(up[2] or 0)
end
redis.call('EXPIRE', KEYS[5], ARGV[3])
local all = {}
for _, part in ipairs(parts) do
  if part[2] >= 0 then
    for _, json in ipairs(redis.call('LRANGE', part[1], 0, part[2])) do
      if json ~= '' then all[#all + 1] = json end
    end
  end
end
return all
