-- One item of a conversation.
-- KEYS  1 positions  2 items
-- ARGV  1 item's id
-- RESULT  the item, or nil
local position = redis.call('HGET', KEYS[1], ARGV[1])
return position and redis.call('LINDEX', KEYS[2], position)
