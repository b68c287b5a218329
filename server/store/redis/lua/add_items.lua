-- Append items to a conversation, without those that it has, unless a turn runs in it.
-- KEYS
--   conversation   hash
--   items          list
--   positions      hash of item ids
--   conversations  sorted set: the caller's
--   turn_prefix    makes the hash of the turn that locks it
-- ARGV
--   session_ttl    seconds
--   new_items      packed items
-- RESULT  {"ok"} | {"missing"} | {"locked", turn}
--- @include "running_turn"
--- @include "packed_items"
--- @include "new_items"
--- @include "expire_all"

if redis.call('EXISTS', conversation) == 0 then return {'missing'} end
local running = find_running_turn(conversation, turn_prefix)
if running then return {'locked', running} end
push_new_items(items, positions, new_items)
expire_all(session_ttl, conversation, items, positions, conversations)
return {'ok'}
