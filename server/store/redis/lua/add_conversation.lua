-- Create a conversation with its first items. Repeated, it changes nothing.
-- KEYS
--   conversation   hash
--   items          list
--   positions      hash of item ids
--   conversations  sorted set: the caller's
-- ARGV
--   session_ttl    seconds
--   id             of the conversation
--   created_at     seconds since the epoch
--   metadata       JSON
--   first_items    packed items
-- RESULT  1
--- @include "packed_items"
--- @include "new_items"
--- @include "expire_all"

if redis.call('EXISTS', conversation) == 1 then return 1 end
redis.call('HSET', conversation, 'created_at', created_at, 'metadata', metadata)
push_new_items(items, positions, first_items)
redis.call('ZADD', conversations, created_at, id)
expire_all(session_ttl, conversation, items, positions, conversations)
return 1
