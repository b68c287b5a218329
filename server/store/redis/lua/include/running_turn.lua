-- The id of the turn that runs in a conversation and locks it, or nil. A lock whose turn is gone does not count.
local function find_running_turn(conversation, turn_prefix)
  local turn_id = redis.call('HGET', conversation, 'active')
  if not turn_id then return nil end
  local turn = turn_prefix .. turn_id
  if redis.call('EXISTS', turn) == 0 or redis.call('HEXISTS', turn, 'end') == 1 then return nil end
  return turn_id
end
