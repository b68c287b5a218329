-- Take a turn: raise the fence, if the lease is still the one that was seen.
-- KEYS  1 turn
-- ARGV  1 lease that was seen, "" for none  2 owner  3 the status of a running turn
--       4 fence that the new one must be above: an owner comes back to an older Redis; 0 for all others
--       5 "1" where nothing is ever lost between two processes of this Redis
-- RESULT  {answer, top, stop, lease, hole, claims, idle}
local h = redis.call('HMGET', KEYS[1], 'lease', 'top', 'stop', 'end', 'fence', 'offered', 'claimed_at', 'claims',
  'idle', 'run', 'hole')
if not h[5] then return {'lost', -1, 0, '', 0, 0, 0} end
local claims, idle = tonumber(h[8] or 0), tonumber(h[9] or 0)
local function say(word, lease)
  return {word, tonumber(h[2]), h[3] and 1 or 0, lease, h[11] == h[2] and 1 or 0, claims, idle}
end
if h[4] then return say('finished', h[1]) end
if h[1] ~= ARGV[1] then
  return say(string.match(h[1], '^%d+:(.*)$') == ARGV[2] and 'duplicate' or 'fenced', h[1])
end

local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local fence = math.max(tonumber(h[5]), tonumber(ARGV[4])) + 1
local lease = fence .. ':' .. ARGV[2]
local change = {'lease', lease, 'fence', fence, 'status', ARGV[3], 'claimed_at', h[2], 'run', run}
local function note(field, value) change[#change + 1] = field; change[#change + 1] = value end
if h[1] ~= '' and ARGV[4] == '0' then
  -- Claims from a dead owner are counted, hand-overs are not. `idle` counts those since the log last grew.
  if not h[6] then
    claims, idle = claims + 1, (h[7] == h[2] and idle or 0) + 1
    note('claims', claims); note('idle', idle)
  end
  -- Another process of Redis than the last claim's: the dead owner may have been told of entries that are not here.
  if h[10] ~= run and ARGV[5] == '' then
    h[11] = h[2]
    note('hole', h[2])
  end
end
-- Who comes back writes again what it had written, holes included.
if ARGV[4] ~= '0' then note('back', lease) end
redis.call('HSET', KEYS[1], unpack(change))
redis.call('HDEL', KEYS[1], 'offered')
return say('ok', lease)
