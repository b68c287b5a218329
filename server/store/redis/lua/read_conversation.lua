-- Read one conversation.
-- KEYS
--   conversation_prefix  makes its hash
--   turn_prefix          makes the hash of the turn that locks it
-- ARGV
--   id                   of the conversation
-- RESULT  {id, created_at, metadata, running turn or ""}, or nil
--- @include "running_turn"
--- @include "conversation_row"

return read_conversation(conversation_prefix, turn_prefix, id)
