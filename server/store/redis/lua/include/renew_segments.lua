-- Renew the lifetime of a segment and of all that it continues: under each further prefix as under the segments' own.
-- No history is as deep as 100 segments; one that goes round must not hold up Redis for ever.
local function renew_segments(ttl, id, segment_prefix, ...)
  for _ = 1, 100 do
    if not id or id == '' then return end
    redis.call('EXPIRE', segment_prefix .. id, ttl)
    for _, prefix in ipairs({...}) do redis.call('EXPIRE', prefix .. id, ttl) end
    id = redis.call('HGET', segment_prefix .. id, 'parent')
  end
end
