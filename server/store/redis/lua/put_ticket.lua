-- Store a single-use ticket.
-- KEYS
--   ticket   string: the caller
--   proof    string: see `Ticket.proof`
-- ARGV
--   caller   its name
--   proven   what `proof` is to hold
--   seconds  lifetime of both
-- RESULT  1
redis.call('SET', ticket, caller, 'EX', seconds)
redis.call('SET', proof, proven, 'EX', seconds)
return 1
