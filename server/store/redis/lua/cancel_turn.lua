-- Request a stop: every later append answers it.
-- KEYS
--   turn  hash
-- RESULT  {status, last_seq, stop, lease}
--- @include "hash"
--- @include "write_result"

local turn_hash = read_hash(turn, 'lease', 'top', 'stop', 'end', 'fence')
if not turn_hash.fence then return LOST end
if turn_hash['end'] then return write_result('finished', turn_hash) end
redis.call('HSET', turn, 'stop', 1)
turn_hash.stop = 1
return write_result('ok', turn_hash)
