-- A page of a caller's conversations, newest first. Drops those from the set that have expired.
-- KEYS
--   conversation_prefix  makes the hash of a conversation
--   turn_prefix          makes the hash of the turn that locks it
--   conversations        sorted set: the caller's
-- ARGV
--   after                id of the conversation that the page follows on, or ""
--   limit                how many
-- RESULT  {{id, created_at, metadata, running turn or ""}, ...}, one more than asked for if there are more;
--         nil when `after` is not there
--- @include "running_turn"
--- @include "conversation_row"

local rank = 0
if after ~= '' then
  local rank_of_after = redis.call('ZREVRANK', conversations, after)
  if not rank_of_after then return false end
  rank = rank_of_after + 1
end
local found, wanted = {}, tonumber(limit) + 1
while #found < wanted do
  local ids = redis.call('ZREVRANGE', conversations, rank, rank + wanted - 1)
  if #ids == 0 then break end
  for _, id in ipairs(ids) do
    local row = read_conversation(conversation_prefix, turn_prefix, id)
    if not row then
      redis.call('ZREM', conversations, id)
    else
      rank = rank + 1
      found[#found + 1] = row
      if #found == wanted then break end
    end
  end
end
return found
