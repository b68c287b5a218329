-- Count this process up; read what all processes count and report; take the notifications.
-- KEYS
--   nodes          hash: every process by its incarnation
--   notifications  list: this owner's
-- ARGV
--   owner          incarnation of this process
--   info           what it reports of itself
-- RESULT  {{owner, "<count> <info>", ...}, {"<caller> <turn>", ...}}
local before = redis.call('HGET', nodes, owner)
local count = before and tonumber(string.match(before, '^%d+')) or 0
redis.call('HSET', nodes, owner, (count + 1) .. ' ' .. info)
redis.call('EXPIRE', nodes, NODES_TTL_S)
local taken = redis.call('LRANGE', notifications, 0, -1)
if #taken > 0 then redis.call('DEL', notifications) end
return {redis.call('HGETALL', nodes), taken}
