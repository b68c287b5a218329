-- Give a running turn back: it has no owner, and is claimed as if it were queued.
-- KEYS
--   turn   hash
-- ARGV
--   lease  of the owner
-- RESULT  {status, last_seq, stop, lease}
--- @include "hash"
--- @include "write_result"

local turn_hash = read_hash(turn, 'lease', 'top', 'stop', 'end', 'fence', 'released')
if not turn_hash.fence then return LOST end
if turn_hash['end'] then return write_result('finished', turn_hash) end
if turn_hash.lease == '' and turn_hash.released == lease then return write_result('duplicate', turn_hash) end
if turn_hash.lease ~= lease then return write_result('fenced', turn_hash) end
redis.call('HSET', turn, 'lease', '', 'released', lease)
redis.call('HDEL', turn, 'offered')
turn_hash.lease = ''
return write_result('ok', turn_hash)
