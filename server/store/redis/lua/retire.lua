-- Strike out a dead process, unless it has counted on.
-- KEYS  1 nodes
-- ARGV  1 owner  2 its last count
-- RESULT  1, or 0 if it lives or is gone
local now = redis.call('HGET', KEYS[1], ARGV[1])
if now and string.match(now, '^%d+') == ARGV[2] then return redis.call('HDEL', KEYS[1], ARGV[1]) end
return 0
