-- A conversation as {id, created_at, metadata, running turn or ""}, or nil. Needs running_turn.
local function read_conversation(conversation_prefix, turn_prefix, id)
  local conversation = conversation_prefix .. id
  local created_at, metadata = unpack(redis.call('HMGET', conversation, 'created_at', 'metadata'))
  if not created_at then return nil end
  return {id, created_at, metadata, find_running_turn(conversation, turn_prefix) or ''}
end
