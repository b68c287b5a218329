-- How many positions a conversation has, those of deleted items included.
-- KEYS
--   conversation  hash
--   items         list
--   turn_prefix   makes the key of a turn that locks the conversation
-- ARGV
--   unlocked      "1": only while no turn runs in it
-- RESULT  a number, the id of the turn that runs in it, or nil when there is no such conversation
--- @include "running_turn"

if redis.call('EXISTS', conversation) == 0 then return false end
local running = unlocked == '1' and find_running_turn(conversation, turn_prefix)
return running or redis.call('LLEN', items)
