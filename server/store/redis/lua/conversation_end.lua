-- How many positions a conversation has.
-- KEYS  1 conversation  2 items
-- RESULT  a number, or nil when there is no such conversation
if redis.call('EXISTS', KEYS[1]) == 0 then return false end
return redis.call('LLEN', KEYS[2])
