-- A page of a conversation's items.
-- KEYS  1 conversation  2 items  3 positions
-- ARGV  1 item to start behind or ""  2 how many  3 newest first ("1" or "")
-- RESULT  items, one more than asked for if there are more; "conversation" or "item" when that is missing
if redis.call('EXISTS', KEYS[1]) == 0 then return 'conversation' end
local length, wanted = redis.call('LLEN', KEYS[2]), tonumber(ARGV[2]) + 1
local step = ARGV[3] == '1' and -1 or 1
local at = step == 1 and 0 or length - 1
if ARGV[1] ~= '' then
  local position = redis.call('HGET', KEYS[3], ARGV[1])
  if not position then return 'item' end
  at = tonumber(position) + step
end
local found = {}
while #found < wanted and at >= 0 and at < length do
  local low = step == 1 and at or math.max(0, at - wanted + 1)
  local high = step == 1 and at + wanted - 1 or at
  local block = redis.call('LRANGE', KEYS[2], low, high)
  local first, last = 1, #block
  if step == -1 then first, last = #block, 1 end
  for n = first, last, step do
    if block[n] ~= '' and #found < wanted then found[#found + 1] = block[n] end
  end
  at = at + step * #block
end
return found
