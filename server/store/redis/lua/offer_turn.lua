-- Mark a running turn as free to claim. Its owner goes on writing until another node claims it.
-- KEYS
--   turn   hash
-- ARGV
--   lease  of the owner
-- RESULT  {status, last_seq, stop, lease}
--- @include "hash"
--- @include "write_result"

local turn_hash = read_hash(turn, 'lease', 'top', 'stop', 'end', 'fence')
if not turn_hash.fence then return LOST end
if turn_hash['end'] then return write_result('finished', turn_hash) end
if turn_hash.lease ~= lease then return write_result('fenced', turn_hash) end
redis.call('HSET', turn, 'offered', 1)
return write_result('ok', turn_hash)
