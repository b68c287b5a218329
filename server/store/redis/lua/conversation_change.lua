-- Change a conversation.
-- KEYS  1 conversation  2 items  3 positions  4 the caller's conversations  5 prefix of turns
-- ARGV  1 "metadata" | "drop" | "add" | "drop_item"  2 lifetime (s)  3 conversation's id
--       4 metadata | items (id, json, ... each with its length in front) | item's id
-- RESULT  {"ok", 1 if anything was there} | {"missing"} | {"locked", turn}
local what = ARGV[1]
local active = redis.call('HGET', KEYS[1], 'active')
if redis.call('EXISTS', KEYS[1]) == 0 then return {'missing'} end
if active and what ~= 'metadata' then
  local turn = KEYS[5] .. active
  if redis.call('EXISTS', turn) == 1 and redis.call('HEXISTS', turn, 'end') == 0 then return {'locked', active} end
end

local done = 1
if what == 'metadata' then
  redis.call('HSET', KEYS[1], 'metadata', ARGV[4])
elseif what == 'drop' then
  redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
  redis.call('ZREM', KEYS[4], ARGV[3])
elseif what == 'add' then
  local at = 1
  while at <= #ARGV[4] do
    local item, json
    item, json, at = struct.unpack('>I4c0>I4c0', ARGV[4], at)
    if redis.call('HEXISTS', KEYS[3], item) == 0 then
      redis.call('HSET', KEYS[3], item, redis.call('RPUSH', KEYS[2], json) - 1)
    end
  end
else
  local position = redis.call('HGET', KEYS[3], ARGV[4])
  if position then
    redis.call('LSET', KEYS[2], position, '')
    redis.call('HDEL', KEYS[3], ARGV[4])
  else
    done = 0
  end
end
for n = 1, 4 do redis.call('EXPIRE', KEYS[n], ARGV[2]) end
return {'ok', done}
