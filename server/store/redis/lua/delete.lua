-- Forget a response, its log and, when nothing else leans on them, its items. A tombstone keeps it forgotten.
-- KEYS  1 turn  2 log  3 open set  4 response  5 tombstone  6 conversation prefix  7 segment prefix  8 items prefix
-- ARGV  1 id  2 member of the open set  3 lifetime of the tombstone
-- RESULT  1, or 0 if it was not there
local turn = redis.call('HMGET', KEYS[1], 'fence', 'once', 'conversation', 'leans', 'parent')
local response = redis.call('HMGET', KEYS[4], 'status', 'once', 'segment')
if not turn[1] and not response[1] then return 0 end

-- Items go with the last response, segment or running turn that needs them.
local function leave(segment)
  while segment and segment ~= '' and redis.call('EXISTS', KEYS[7] .. segment) == 1 do
    if redis.call('HINCRBY', KEYS[7] .. segment, 'users', -1) > 0 then return end
    local parent = redis.call('HGET', KEYS[7] .. segment, 'parent')
    redis.call('DEL', KEYS[7] .. segment, KEYS[8] .. segment)
    segment = parent
  end
end

redis.call('SET', KEYS[5], 1, 'EX', ARGV[3])
local once = turn[2] or response[2]
if once and once ~= '' then redis.call('DEL', once) end
local conversation = turn[3] and KEYS[6] .. turn[3]
if conversation and redis.call('HGET', conversation, 'active') == ARGV[1] then
  redis.call('HDEL', conversation, 'active')
end
leave(response[3])
if turn[4] then leave(turn[5]) end
redis.call('SREM', KEYS[3], ARGV[2])
redis.call('DEL', KEYS[1], KEYS[2], KEYS[4])
return 1
