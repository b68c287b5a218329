-- Part of a log, with the turn's status.
-- KEYS
--   turn      hash
--   log       stream
-- ARGV
--   after_id  entries follow on this id
--   limit     how many entries at most
-- RESULT  {status, last_seq, entries}, or nil when the turn is gone
local status, last_seq = unpack(redis.call('HMGET', turn, 'status', 'top'))
if not status then return false end
return {status, tonumber(last_seq), redis.call('XRANGE', log, '(' .. after_id, '+', 'COUNT', limit)}
