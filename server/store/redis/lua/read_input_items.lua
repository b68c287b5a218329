-- The items that came with a turn, finished or not.
-- KEYS
--   turn          hash
--   response      hash
--   items_prefix  makes the list of a segment's items
-- RESULT  {"packed", string} | {"list", items} | nil when there is no such turn
--- @include "hash"

local turn_hash = read_hash(turn, 'fence', 'input', 'conversation', 'first_input', 'last_input')
if turn_hash.input then return {'packed', turn_hash.input} end
local segment, first, last = turn_hash.conversation, turn_hash.first_input, turn_hash.last_input
if not turn_hash.fence or not segment then
  local response_hash = read_hash(response, 'status', 'segment', 'first_input', 'last_input')
  if not response_hash.status then return false end
  segment, first, last = response_hash.segment, response_hash.first_input, response_hash.last_input
end
local found = {}
if segment and tonumber(last) >= tonumber(first) then
  for _, json in ipairs(redis.call('LRANGE', items_prefix .. segment, first, last)) do
    if json ~= '' then found[#found + 1] = json end
  end
end
return {'list', found}
