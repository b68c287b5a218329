-- Replace a conversation's metadata, and read what the conversation is then.
-- KEYS
--   conversation         hash
--   items                list
--   positions            hash of item ids
--   conversations        sorted set: the caller's
--   conversation_prefix  makes the hash of a conversation
--   turn_prefix          makes the hash of the turn that locks it
-- ARGV
--   session_ttl          seconds
--   id                   of the conversation
--   metadata             JSON
-- RESULT  {id, created_at, metadata, running turn or ""}, or nil when it is not there
--- @include "running_turn"
--- @include "conversation_row"
--- @include "expire_all"

if redis.call('EXISTS', conversation) == 0 then return false end
redis.call('HSET', conversation, 'metadata', metadata)
expire_all(session_ttl, conversation, items, positions, conversations)
return read_conversation(conversation_prefix, turn_prefix, id)
