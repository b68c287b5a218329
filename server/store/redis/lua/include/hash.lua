-- The named fields of a hash, in a table by name; false where there is none.
local function read_hash(key, ...)
  local names, found = {...}, {}
  for n, value in ipairs(redis.call('HMGET', key, ...)) do found[names[n]] = value end
  return found
end
