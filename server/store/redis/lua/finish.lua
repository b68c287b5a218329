-- End a turn: terminal event, response, history, unlock, lifetimes. Only an open turn has an end.
-- KEYS  1 turn  2 log  3 open set  4 response  5 conversation prefix  6 items prefix  7 positions prefix
--       8 segment prefix  9 the caller's conversations
-- ARGV  1 id  2 member of the open set  3 lease  4 after  5 top  6 entry  7 status  8 response (JSON)
--       9 output items (id, json, ... each with its length in front)  10 session lifetime  11 log lifetime
--       12 unkept lifetime  13 how many segments a history may span
-- RESULT  {answer, top, stop, lease}
local id, lease, after, top = ARGV[1], ARGV[3], ARGV[4], ARGV[5]
local h = redis.call('HMGET', KEYS[1], 'lease', 'top', 'stop', 'end', 'fence', 'kept', 'conversation', 'parent',
  'parent_at', 'input', 'once', 'first_input', 'last_input', 'hole', 'back', 'leans')
if not h[5] then return {'lost', -1, 0, ''} end
local function say(word) return {word, tonumber(h[2]), h[3] and 1 or 0, h[1]} end
if h[4] then return say(h[4] == lease and h[2] == top and 'duplicate' or 'finished') end
if h[1] ~= lease then return say('fenced') end
local over_hole = (h[14] == h[2] or h[15] == lease) and tonumber(after) == tonumber(h[2]) + 1000
if h[2] ~= after and not over_hole then return say('gap') end

local kept, conversation, parent = h[6] == '1', h[7], h[8] or ''
local number = top .. '-' .. (top - after)
if not redis.call('XADD', KEYS[2], 'NOMKSTREAM', number, 'e', ARGV[6], 'end', ARGV[7]) then return say('lost') end
redis.call('HSET', KEYS[1], 'status', ARGV[7], 'top', top, 'lease', '', 'end', lease)
redis.call('HDEL', KEYS[1], 'offered', 'leans')
redis.call('SREM', KEYS[3], ARGV[2])

local function renew(segment)
  while segment and segment ~= '' do
    redis.call('EXPIRE', KEYS[6] .. segment, ARGV[10])
    redis.call('EXPIRE', KEYS[8] .. segment, ARGV[10])
    redis.call('EXPIRE', KEYS[5] .. segment, ARGV[10])
    segment = redis.call('HGET', KEYS[8] .. segment, 'parent')
  end
end

-- Push the items of a packed string; their ids get positions in a conversation.
local function push(segment, packed, named)
  local items, at = KEYS[6] .. segment, 1
  while at <= #packed do
    local item, json
    item, json, at = struct.unpack('>I4c0>I4c0', packed, at)
    local length = redis.call('RPUSH', items, json)
    if named then redis.call('HSET', KEYS[7] .. segment, item, length - 1) end
  end
  return redis.call('LLEN', items)
end

-- All items up to a place, across segments, into a new list. False, and nothing done, when any of them is gone.
local function copy(segment, position, target)
  local parts = {}
  while segment and segment ~= '' do
    position = tonumber(position)
    if redis.call('EXISTS', KEYS[8] .. segment, KEYS[5] .. segment) == 0 then return false end
    if redis.call('LLEN', KEYS[6] .. segment) <= position then return false end
    table.insert(parts, 1, {segment, position})
    local up = redis.call('HMGET', KEYS[8] .. segment, 'parent', 'parent_at')
    segment, position = up[1], up[2]
  end
  for _, part in ipairs(parts) do
    if part[2] >= 0 then
      for _, json in ipairs(redis.call('LRANGE', KEYS[6] .. part[1], 0, part[2])) do
        if json ~= '' then redis.call('RPUSH', KEYS[6] .. target, json) end
      end
    end
  end
  return true
end

-- The segment that takes a chain's new items: the parent's own at its tip, else a new one of this turn's name.
local function segment()
  local mine = KEYS[8] .. id
  if parent == '' then
    redis.call('HSET', mine, 'depth', 1, 'users', 0)
    return id
  end
  local up = redis.call('HMGET', KEYS[8] .. parent, 'depth', 'users')
  if up[1] and redis.call('LLEN', KEYS[6] .. parent) - 1 == tonumber(h[9]) then return parent end
  local depth = tonumber(up[1] or 0) + 1
  local flat = depth > tonumber(ARGV[13]) or redis.call('EXISTS', KEYS[5] .. parent) == 1
  if flat and copy(parent, h[9], id) then
    redis.call('HSET', mine, 'depth', 1, 'users', 0)
  else
    -- A parent that is gone is still named: the history must be missing, not shorter.
    redis.call('HSET', mine, 'depth', depth, 'users', 0, 'parent', parent, 'parent_at', h[9])
    if up[1] then redis.call('HINCRBY', KEYS[8] .. parent, 'users', 1) end
  end
  return id
end

-- Items go with the last response, segment or running turn that needs them.
local function leave(segment)
  while segment and segment ~= '' and redis.call('EXISTS', KEYS[8] .. segment) == 1 do
    if redis.call('HINCRBY', KEYS[8] .. segment, 'users', -1) > 0 then return end
    local up = redis.call('HGET', KEYS[8] .. segment, 'parent')
    redis.call('DEL', KEYS[8] .. segment, KEYS[6] .. segment)
    segment = up
  end
end

local life = kept and ARGV[10] or ARGV[12]
local response = {'response', ARGV[8], 'status', ARGV[7], 'once', h[11] or ''}
local function place(where, first, last, tip)
  for _, value in ipairs({'segment', where, 'first_input', first, 'last_input', last, 'at', tip}) do
    response[#response + 1] = value
  end
end

if conversation then
  if redis.call('EXISTS', KEYS[5] .. conversation) == 1 then
    local length = push(conversation, ARGV[9], true)
    if redis.call('HGET', KEYS[5] .. conversation, 'active') == id then
      redis.call('HDEL', KEYS[5] .. conversation, 'active')
    end
    place(conversation, h[12], h[13], length - 1)
    renew(conversation)
    redis.call('EXPIRE', KEYS[7] .. conversation, ARGV[10])
    redis.call('EXPIRE', KEYS[9], ARGV[10])
  end
elseif kept then
  local where = segment()
  local first = redis.call('LLEN', KEYS[6] .. where)
  local last = push(where, h[10] or '', false) - 1
  place(where, first, last, push(where, ARGV[9], false) - 1)
  redis.call('HINCRBY', KEYS[8] .. where, 'users', 1)
  redis.call('HDEL', KEYS[1], 'input')
  renew(where)
end

if h[16] then leave(parent) end

redis.call('HSET', KEYS[4], unpack(response))
redis.call('EXPIRE', KEYS[4], life)
local short = kept and ARGV[11] or ARGV[12]
redis.call('EXPIRE', KEYS[1], short)
redis.call('EXPIRE', KEYS[2], short)
if h[11] then redis.call('EXPIRE', h[11], life) end
h[1], h[2] = '', top
return say('ok')
