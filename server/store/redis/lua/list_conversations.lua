-- A page of a caller's conversations, newest first. Drops those from the set that have expired, a bounded number in one
-- call: nothing else runs in Redis meanwhile.
-- KEYS
--   conversation_prefix  makes the hash of a conversation
--   turn_prefix          makes the hash of the turn that locks it
--   conversations        sorted set: the caller's
-- ARGV
--   after                id of the conversation that the page follows on, or ""
--   limit                how many
-- RESULT  {{id, created_at, metadata, running turn or ""} | {id of one that cannot be read}, ...},
--         one more than asked for if there are more; nil when `after` is not there; 0 when so many had expired that it
--         must be called again
--- @include "running_turn"
--- @include "conversation_row"

local rank = 0
if after ~= '' then
  local rank_of_after = redis.call('ZREVRANK', conversations, after)
  if not rank_of_after then return false end
  rank = rank_of_after + 1
end
local found, wanted, dropped = {}, tonumber(limit) + 1, 0
while #found < wanted do
  local ids = redis.call('ZREVRANGE', conversations, rank, rank + wanted - 1)
  if #ids == 0 then break end
  if dropped >= MAX_DROPPED_CONVERSATIONS then return 0 end
  for _, id in ipairs(ids) do
    local succeeded, row = pcall(read_conversation, conversation_prefix, turn_prefix, id)
    if not succeeded then row = {id} end  -- its keys hold values of another type
    if not row then
      redis.call('ZREM', conversations, id)
      dropped = dropped + 1
    else
      rank = rank + 1
      found[#found + 1] = row
      if #found == wanted then break end
    end
  end
end
return found
