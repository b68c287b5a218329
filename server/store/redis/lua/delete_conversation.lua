-- Delete a conversation with its items, unless a turn runs in it.
-- KEYS
--   conversation   hash
--   items          list
--   positions      hash of item ids
--   conversations  sorted set: the caller's
--   turn_prefix    makes the hash of the turn that locks it
-- ARGV
--   session_ttl    seconds
--   id             of the conversation
-- RESULT  {"ok"} | {"missing"} | {"locked", turn}
--- @include "running_turn"

if redis.call('EXISTS', conversation) == 0 then return {'missing'} end
local running = find_running_turn(conversation, turn_prefix)
if running then return {'locked', running} end
redis.call('DEL', conversation, items, positions)
redis.call('ZREM', conversations, id)
redis.call('EXPIRE', conversations, session_ttl)
return {'ok'}
