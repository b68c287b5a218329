-- A page of a conversation's items.
-- KEYS
--   conversation  hash
--   items         list
--   positions     hash of item ids
-- ARGV
--   after         id of the item that the page follows on, or ""
--   limit         how many
--   newest_first  "1" or ""
-- RESULT  items, one more than asked for if there are more; "conversation" or "item" when that is missing
if redis.call('EXISTS', conversation) == 0 then return 'conversation' end
local length, wanted = redis.call('LLEN', items), tonumber(limit) + 1
local step = newest_first == '1' and -1 or 1
local position = step == 1 and 0 or length - 1
if after ~= '' then
  local position_of_after = redis.call('HGET', positions, after)
  if not position_of_after then return 'item' end
  position = tonumber(position_of_after) + step
end
local found = {}
-- In blocks, as deleted items leave empty strings in between.
while #found < wanted and position >= 0 and position < length do
  local low = step == 1 and position or math.max(0, position - wanted + 1)
  local high = step == 1 and position + wanted - 1 or position
  local block = redis.call('LRANGE', items, low, high)
  local first, last = 1, #block
  if step == -1 then first, last = #block, 1 end
  for n = first, last, step do
    if block[n] ~= '' and #found < wanted then found[#found + 1] = block[n] end
  end
  position = position + step * #block
end
return found
