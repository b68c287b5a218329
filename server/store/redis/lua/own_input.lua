-- The items that came with a turn, finished or not.
-- KEYS  1 turn  2 response  3 items prefix
-- RESULT  {"packed", string} | {"list", items} | nil
local turn = redis.call('HMGET', KEYS[1], 'fence', 'input', 'conversation', 'first_input', 'last_input')
if turn[2] then return {'packed', turn[2]} end
local where, first, last = turn[3], turn[4], turn[5]
if not turn[1] or not where then
  local response = redis.call('HMGET', KEYS[2], 'status', 'segment', 'first_input', 'last_input')
  if not response[1] then return false end
  where, first, last = response[2], response[3], response[4]
end
local found = {}
if where and tonumber(last) >= tonumber(first) then
  for _, json in ipairs(redis.call('LRANGE', KEYS[3] .. where, first, last)) do
    if json ~= '' then found[#found + 1] = json end
  end
end
return {'list', found}
