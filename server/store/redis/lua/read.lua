-- Part of a log, with how the turn stands.
-- KEYS  1 turn  2 log
-- ARGV  1 id to start behind  2 how many entries at most
-- RESULT  {status, top, entries}, or nil when the turn is gone
local h = redis.call('HMGET', KEYS[1], 'status', 'top')
if not h[1] then return false end
return {h[1], tonumber(h[2]), redis.call('XRANGE', KEYS[2], '(' .. ARGV[1], '+', 'COUNT', ARGV[2])}
