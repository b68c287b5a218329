-- Append to many logs of one partition; each turn is answered on its own.
-- KEYS  turn, log of each
-- ARGV  lease, after, top, entry of each
-- RESULT  for each: 1 (ok, no stop asked for) | {answer, top, stop, lease} | {"broken", error}
-- The first entry after a hole begins 1,000 numbers above the top; an owner who came back writes its old ones again.
-- An entry's id is "<number of its last event>-<how many it has>".
-- A failure that concerns every write (memory, a read-only replica, a full disk) is raised instead: what was applied
-- before it answers "duplicate" when the batch is repeated.
local function answer(turn, lease, after, top)
  local h = redis.call('HMGET', turn, 'lease', 'top', 'stop', 'end', 'fence')
  if not h[5] then return {'lost', -1, 0, ''} end
  local function say(word) return {word, tonumber(h[2]), h[3] and 1 or 0, h[1]} end
  if h[4] then return say('finished') end
  if h[1] ~= lease then return say('fenced') end
  if tonumber(h[2]) >= tonumber(top) then return say('duplicate') end
  return say('gap')
end

local function is_over_hole(turn, top, after, lease)
  if tonumber(after) ~= tonumber(top) + 1000 then return false end
  local h = redis.call('HMGET', turn, 'hole', 'back')
  return h[1] == top or h[2] == lease
end

local function append(n)
  local turn, lease, after, top = KEYS[2 * n - 1], ARGV[4 * n - 3], ARGV[4 * n - 2], ARGV[4 * n - 1]
  local h = redis.call('HMGET', turn, 'lease', 'top', 'stop')
  if h[1] ~= lease or (h[2] ~= after and not (h[2] and is_over_hole(turn, h[2], after, lease))) then
    return answer(turn, lease, after, top)
  end
  if not redis.call('XADD', KEYS[2 * n], 'NOMKSTREAM', top .. '-' .. (top - after), 'e', ARGV[4 * n]) then
    return {'lost', -1, 0, h[1]}
  end
  redis.call('HSET', turn, 'top', top)
  if h[3] then return {'ok', tonumber(top), 1, lease} end
  return 1
end

local everybody = {'OOM ', 'READONLY', 'MISCONF', 'NOREPLICAS', 'NOPERM', 'MASTERDOWN', 'LOADING'}
local results = {}
for n = 1, #KEYS / 2 do
  local fine, result = pcall(append, n)
  if not fine then
    local words = type(result) == 'table' and result.err or tostring(result)
    for _, word in ipairs(everybody) do
      if string.find(words, word, 1, true) then return redis.error_reply(string.match(words, word .. '.*')) end
    end
    result = {'broken', words}
  end
  results[n] = result
end
return results
