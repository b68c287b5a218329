-- Read a single-use ticket, and delete it.
-- KEYS
--   ticket  string: the caller
--   proof   string: see `Ticket.proof`
-- RESULT  {caller, proof or ""}, or nil when it is not there
local caller = redis.call('GET', ticket)
if not caller then return false end
local proven = redis.call('GET', proof) or ''
redis.call('DEL', ticket, proof)
return {caller, proven}
