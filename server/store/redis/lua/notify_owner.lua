-- Leave an owner word of a turn. Repeated before the owner has read it, it is still one notification.
-- KEYS
--   notifications  list: the owner's
-- ARGV
--   notification   "<caller> <turn>"
-- RESULT  1
if not redis.call('LPOS', notifications, notification) then redis.call('RPUSH', notifications, notification) end
redis.call('EXPIRE', notifications, NOTIFICATIONS_TTL_S)
return 1
