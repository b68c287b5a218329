-- Give these keys this lifetime, those of them that exist.
local function expire_all(ttl, ...)
  for _, key in ipairs({...}) do redis.call('EXPIRE', key, ttl) end
end
