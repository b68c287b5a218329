-- Create a conversation with its first items. Repeated, it changes nothing.
-- KEYS  1 conversation  2 items  3 positions  4 the caller's conversations
-- ARGV  1 lifetime (s)  2 id  3 created_at  4 metadata  5 items (id, json, ... each with its length in front)
-- RESULT  1
if redis.call('EXISTS', KEYS[1]) == 1 then return 1 end
redis.call('HSET', KEYS[1], 'created_at', ARGV[3], 'metadata', ARGV[4])
local at = 1
while at <= #ARGV[5] do
  local item, json
  item, json, at = struct.unpack('>I4c0>I4c0', ARGV[5], at)
  if redis.call('HEXISTS', KEYS[3], item) == 0 then
    redis.call('HSET', KEYS[3], item, redis.call('RPUSH', KEYS[2], json) - 1)
  end
end
redis.call('ZADD', KEYS[4], ARGV[3], ARGV[2])
for n = 1, 4 do redis.call('EXPIRE', KEYS[n], ARGV[1]) end
return 1
