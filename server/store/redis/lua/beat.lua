-- Count this process up; read what all count and note; take the mail.
-- KEYS  1 nodes  2 mail of this one
-- ARGV  1 owner  2 note  3 lifetime (s)
-- RESULT  {{owner, "<count> <note>", ...}, {"<caller> <id>", ...}}
local before = redis.call('HGET', KEYS[1], ARGV[1])
local count = before and tonumber(string.match(before, '^%d+')) or 0
redis.call('HSET', KEYS[1], ARGV[1], (count + 1) .. ' ' .. ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
local mail = redis.call('LRANGE', KEYS[2], 0, -1)
if #mail > 0 then redis.call('DEL', KEYS[2]) end
return {redis.call('HGETALL', KEYS[1]), mail}
