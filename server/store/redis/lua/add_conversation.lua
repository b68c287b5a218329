-- Create a conversation with its first items. Repeated, it changes nothing.
-- The set is in the order of creation, and what is in it expires by its last use: nothing in it says what has. So each
-- new one looks at a few at random, and drops those that have expired: they stay less than a third of those that have not.
-- KEYS
--   conversation         hash
--   items                list
--   positions            hash of item ids
--   conversations        sorted set: the caller's
--   conversation_prefix  makes the hash of a conversation
-- ARGV
--   session_ttl          seconds
--   id                   of the conversation
--   created_at           seconds since the epoch
--   metadata             JSON
--   first_items          packed items
--   fingerprint          digest of the request that asks for this id, or ""
-- RESULT  1, or 0 where a request of another fingerprint made it
--- @include "packed_items"
--- @include "new_items"
--- @include "expire_all"

if redis.call('EXISTS', conversation) == 1 then
  return (redis.call('HGET', conversation, 'fingerprint') or '') == fingerprint and 1 or 0
end
redis.call('HSET', conversation, 'created_at', created_at, 'metadata', metadata)
if fingerprint ~= '' then redis.call('HSET', conversation, 'fingerprint', fingerprint) end
push_new_items(items, positions, first_items)
for _, other in ipairs(redis.call('ZRANDMEMBER', conversations, CHECKED_CONVERSATIONS)) do
  if redis.call('EXISTS', conversation_prefix .. other) == 0 then redis.call('ZREM', conversations, other) end
end
redis.call('ZADD', conversations, created_at, id)
expire_all(session_ttl, conversation, items, positions, conversations)
return 1
