-- Take a turn: raise the fence, if the lease is still the one that was seen.
-- KEYS  1 turn
-- ARGV  1 lease that was seen, "" for none  2 owner  3 the status of a running turn
--       4 fence that the new one must be above: an owner comes back to an older Redis; 0 for all others
-- RESULT  {answer, top, stop, lease}
local h = redis.call('HMGET', KEYS[1], 'lease', 'top', 'stop', 'end', 'fence', 'offered', 'claimed_at', 'claims', 'idle')
if not h[5] then return {'lost', -1, 0, ''} end
local function say(word, lease) return {word, tonumber(h[2]), h[3] and 1 or 0, lease} end
if h[4] then return say('finished', h[1]) end
if h[1] ~= ARGV[1] then
  return say(string.match(h[1], '^%d+:(.*)$') == ARGV[2] and 'duplicate' or 'fenced', h[1])
end

local fence = math.max(tonumber(h[5]), tonumber(ARGV[4])) + 1
local lease = fence .. ':' .. ARGV[2]
local change = {'lease', lease, 'fence', fence, 'status', ARGV[3], 'claimed_at', h[2]}
-- Claims from a dead owner are counted, hand-overs are not. `idle` counts those since the log last grew.
if h[1] ~= '' and not h[6] and ARGV[4] == '0' then
  local idle = h[7] == h[2] and tonumber(h[9] or 0) or 0
  for _, value in ipairs({'claims', tonumber(h[8] or 0) + 1, 'idle', idle + 1}) do change[#change + 1] = value end
end
redis.call('HSET', KEYS[1], unpack(change))
redis.call('HDEL', KEYS[1], 'offered')
return say('ok', lease)
