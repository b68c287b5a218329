-- Count a report that another node has viewers of a turn.
-- KEYS
--   turn  hash
-- RESULT  1, or 0 when the turn is gone or has ended
local fence, ended_by = unpack(redis.call('HMGET', turn, 'fence', 'end'))
if not fence or ended_by then return 0 end
redis.call('HINCRBY', turn, 'looked', 1)
return 1
