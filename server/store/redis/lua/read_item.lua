-- One item of a conversation.
-- KEYS
--   positions  hash of item ids
--   items      list
-- ARGV
--   id         of the item
-- RESULT  the item, or nil
local position = redis.call('HGET', positions, id)
return position and redis.call('LINDEX', items, position)
