-- Remove a dead process, unless it has counted on.
-- KEYS
--   nodes  hash: every process by its incarnation
-- ARGV
--   owner  incarnation of the dead process
--   count  the last that was seen of it
-- RESULT  1, or 0 if it lives or is gone
local now = redis.call('HGET', nodes, owner)
if not now then return 0 end
local found = tonumber(string.match(now, '^(%d+) '))
if not found or found < 1 or found > MAX_COUNT then found = UNREADABLE_COUNT end
if found == tonumber(count) then return redis.call('HDEL', nodes, owner) end
return 0
