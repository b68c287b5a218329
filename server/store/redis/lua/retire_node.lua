-- Remove a dead process, unless it has counted on.
-- KEYS
--   nodes  hash: every process by its incarnation
-- ARGV
--   owner  incarnation of the dead process
--   count  the last that was seen of it
-- RESULT  1, or 0 if it lives or is gone
local now = redis.call('HGET', nodes, owner)
if now and string.match(now, '^%d+') == count then return redis.call('HDEL', nodes, owner) end
return 0
