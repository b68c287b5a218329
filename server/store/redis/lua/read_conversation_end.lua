-- How many positions a conversation has, those of deleted items included.
-- KEYS
--   conversation  hash
--   items         list
-- RESULT  a number, or nil when there is no such conversation
if redis.call('EXISTS', conversation) == 0 then return false end
return redis.call('LLEN', items)
