-- Renew the lifetime of a segment and of all that it continues: under each further prefix as under the segments' own.
local function renew_segments(ttl, id, segment_prefix, ...)
  while id and id ~= '' do
    redis.call('EXPIRE', segment_prefix .. id, ttl)
    for _, prefix in ipairs({...}) do redis.call('EXPIRE', prefix .. id, ttl) end
    id = redis.call('HGET', segment_prefix .. id, 'parent')
  end
end
