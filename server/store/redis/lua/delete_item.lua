-- Delete one item of a conversation, unless a turn runs in it. The positions of all others stay.
-- KEYS
--   conversation   hash
--   items          list
--   positions      hash of item ids
--   conversations  sorted set: the caller's
--   turn_prefix    makes the hash of the turn that locks it
-- ARGV
--   session_ttl    seconds
--   id             of the item
-- RESULT  {"ok"} | {"absent"}: no such item | {"missing"}: no such conversation | {"locked", turn}
--- @include "running_turn"
--- @include "expire_all"

if redis.call('EXISTS', conversation) == 0 then return {'missing'} end
local running = find_running_turn(conversation, turn_prefix)
if running then return {'locked', running} end
local position = redis.call('HGET', positions, id)
if position then
  redis.call('LSET', items, position, '')
  redis.call('HDEL', positions, id)
end
expire_all(session_ttl, conversation, items, positions, conversations)
return {position and 'ok' or 'absent'}
