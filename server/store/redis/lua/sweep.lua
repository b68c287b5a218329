-- Every unfinished turn of a partition. Renews lifetimes once in a while, and forgets members that are gone.
-- KEYS  1 open set  2 prefix of turns  3 prefix of logs  4 prefix of segments  5 prefix of items
-- ARGV  1 lifetime (s)  2.. the fields to answer
-- RESULT  {{member, field, ...}, ...}
local now = tonumber(redis.call('TIME')[1])
local fields = {unpack(ARGV, 2)}

-- What a turn continues lives as long as the turn.
local function renew(caller, segment)
  while segment and segment ~= '' do
    redis.call('EXPIRE', KEYS[4] .. caller .. segment, ARGV[1])
    redis.call('EXPIRE', KEYS[5] .. caller .. segment, ARGV[1])
    segment = redis.call('HGET', KEYS[4] .. caller .. segment, 'parent')
  end
end

local found = {}
for _, member in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  local turn = KEYS[2] .. member
  local h = redis.call('HMGET', turn, 'end', 'renewed', 'fence', 'once', 'parent')
  if not h[3] or h[1] then
    redis.call('SREM', KEYS[1], member)
  else
    if now - tonumber(h[2]) > tonumber(ARGV[1]) / 8 then
      redis.call('HSET', turn, 'renewed', now)
      redis.call('EXPIRE', turn, ARGV[1])
      redis.call('EXPIRE', KEYS[3] .. member, ARGV[1])
      redis.call('EXPIRE', KEYS[1], ARGV[1])
      if h[4] then redis.call('EXPIRE', h[4], ARGV[1]) end
      renew(string.match(member, '^[^:]*:'), h[5])
    end
    local values = redis.call('HMGET', turn, unpack(fields))
    table.insert(values, 1, member)
    found[#found + 1] = values
  end
end
return found
