-- Read conversations: the one that is named, or a page of a caller's, newest first.
-- KEYS  1 conversation prefix  2 prefix of turns  3 the caller's conversations
-- ARGV  1 "one" | "page"  2 id, or the one to start behind, or ""  3 how many
-- RESULT  {{id, created_at, metadata, active or ""}, ...}, one more than asked for if there are more;
--         nil when the one to start behind is not there
local function read(id)
  local h = redis.call('HMGET', KEYS[1] .. id, 'created_at', 'metadata', 'active')
  if not h[1] then return nil end
  local turn = h[3] and KEYS[2] .. h[3]
  local runs = turn and redis.call('EXISTS', turn) == 1 and redis.call('HEXISTS', turn, 'end') == 0
  return {id, h[1], h[2], runs and h[3] or ''}
end

if ARGV[1] == 'one' then return {read(ARGV[2])} end
local at = 0
if ARGV[2] ~= '' then
  local rank = redis.call('ZREVRANK', KEYS[3], ARGV[2])
  if not rank then return false end
  at = rank + 1
end
local found, wanted = {}, tonumber(ARGV[3]) + 1
while #found < wanted do
  local ids = redis.call('ZREVRANGE', KEYS[3], at, at + wanted - 1)
  if #ids == 0 then break end
  for _, id in ipairs(ids) do
    local one = read(id)
    if not one then
      redis.call('ZREM', KEYS[3], id)
    else
      at = at + 1
      found[#found + 1] = one
      if #found == wanted then break end
    end
  end
end
return found
