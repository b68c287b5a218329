-- Change how a running turn is held, by its holder or, for a stop and a look, by anybody.
-- KEYS  1 turn
-- ARGV  1 "offer" | "release" | "stop" | "look"  2 lease, "" for a stop and a look
-- RESULT  {answer, top, stop, lease}
local h = redis.call('HMGET', KEYS[1], 'lease', 'top', 'stop', 'end', 'fence', 'released')
if not h[5] then return {'lost', -1, 0, ''} end
local function say(word) return {word, tonumber(h[2]), (h[3] or ARGV[1] == 'stop') and 1 or 0, h[1]} end
if h[4] then return {'finished', tonumber(h[2]), h[3] and 1 or 0, h[1]} end
if ARGV[1] == 'look' then
  redis.call('HINCRBY', KEYS[1], 'looked', 1)
elseif ARGV[1] == 'stop' then
  redis.call('HSET', KEYS[1], 'stop', 1)
elseif h[1] == '' and ARGV[1] == 'release' and h[6] == ARGV[2] then
  return say('duplicate')
elseif h[1] ~= ARGV[2] then
  return say('fenced')
elseif ARGV[1] == 'offer' then
  redis.call('HSET', KEYS[1], 'offered', 1)
else
  redis.call('HSET', KEYS[1], 'lease', '', 'released', h[1])
  redis.call('HDEL', KEYS[1], 'offered')
  h[1] = ''
end
return say('ok')
