-- Count this process up; read what all processes count and report; take the notifications.
-- KEYS
--   nodes          hash: every process by its incarnation
--   notifications  list: this owner's
-- ARGV
--   owner          incarnation of this process
--   info           what it reports of itself
-- RESULT  {{owner, "<count> <info>", ...}, {"<caller> <turn>", ...}, {key of another type, ...}}

-- Both keys hold what is written anew within seconds: one of another type is dropped, as nobody could go on with it.
local dropped = {}
local function drop_unless(type, key)
  local found = redis.call('TYPE', key).ok
  if found ~= type and found ~= 'none' then
    redis.call('DEL', key)
    dropped[#dropped + 1] = key
  end
end

local before = redis.pcall('HGET', nodes, owner)
if type(before) == 'table' then
  drop_unless('hash', nodes)
  before = false
end
local count = before and tonumber(string.match(before, '^%d+')) or 0
if count >= MAX_COUNT then count = 0 end
redis.call('HSET', nodes, owner, string.format('%.0f', count + 1) .. ' ' .. info)
redis.call('EXPIRE', nodes, NODES_TTL_S)
local taken = redis.pcall('LRANGE', notifications, 0, -1)
if taken.err then
  drop_unless('list', notifications)
  taken = {}
end
if #taken > 0 then redis.call('DEL', notifications) end
return {redis.call('HGETALL', nodes), taken, dropped}
