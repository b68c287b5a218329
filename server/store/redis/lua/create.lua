-- Admit a turn: everything is written, or nothing.
-- KEYS  1 turn  2 log  3 open set  4 tombstone  5 idempotency key  6 conversation  7 its items  8 its positions
--       9 the caller's conversations  10 prefix of turns  11 the parent's segment
-- ARGV  1 lifetime (s)  2 id  3 caller  4 member of the open set  5 fingerprint  6 idempotent ("1" or "")
--       7 conversation or ""  8 lease "fence:owner" or ""  9 status  10 number of the entry's last event  11 entry
--       12 kept ("1" or "")  13 parent segment or ""  14 parent position, where a conversation must end
--       15 input (id, json, ... each with its length in front)  16.. record (field, value, ...)
-- RESULT  {"ok"} | {"existing", id} | {"reused"} | {"missing"} | {"locked", turn} | {"moved"}
local life, id, conversation = ARGV[1], ARGV[2], ARGV[7]

if ARGV[6] == '1' then
  local before = redis.call('HMGET', KEYS[5], 'id', 'fingerprint')
  if before[1] then
    if before[2] ~= ARGV[5] then return {'reused'} end
    return {'existing', before[1]}
  end
end
if redis.call('EXISTS', KEYS[1], KEYS[4]) > 0 then return {'ok'} end

if conversation ~= '' then
  if redis.call('EXISTS', KEYS[6]) == 0 then return {'missing'} end
  local active = redis.call('HGET', KEYS[6], 'active')
  if active then
    local lease = redis.call('HGET', KEYS[10] .. active, 'end')
    if not lease and redis.call('EXISTS', KEYS[10] .. active) == 1 then return {'locked', active} end
  end
  if ARGV[13] ~= '' and redis.call('LLEN', KEYS[7]) - 1 ~= tonumber(ARGV[14]) then return {'moved'} end
end

local now = redis.call('TIME')
local fence = string.match(ARGV[8], '^(%d+):') or '0'
local turn = {'caller', ARGV[3], 'status', ARGV[9], 'top', ARGV[10], 'lease', ARGV[8], 'fence', fence,
  'fingerprint', ARGV[5], 'kept', ARGV[12], 'created', now[1] .. '.' .. string.format('%06d', now[2]),
  'renewed', now[1], 'run', string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')}
local function note(field, value) turn[#turn + 1] = field; turn[#turn + 1] = value end
if ARGV[6] == '1' then note('once', KEYS[5]) end
for n = 16, #ARGV, 2 do note('r:' .. ARGV[n], ARGV[n + 1]) end

if conversation == '' then
  note('parent', ARGV[13]); note('parent_at', ARGV[14]); note('input', ARGV[15])
  -- A turn that runs leans on what it continues: its prompt can be rendered again from there.
  if redis.call('EXISTS', KEYS[11]) == 1 then
    redis.call('HINCRBY', KEYS[11], 'users', 1)
    note('leans', 1)
  end
else
  local at, start = 1, redis.call('LLEN', KEYS[7])
  local position = start
  while at <= #ARGV[15] do
    local item, json
    item, json, at = struct.unpack('>I4c0>I4c0', ARGV[15], at)
    redis.call('RPUSH', KEYS[7], json)
    redis.call('HSET', KEYS[8], item, position)
    position = position + 1
  end
  redis.call('HSET', KEYS[6], 'active', id)
  note('conversation', conversation); note('first_input', start); note('last_input', position - 1)
  for n = 6, 9 do redis.call('EXPIRE', KEYS[n], life) end
end

redis.call('HSET', KEYS[1], unpack(turn))
redis.call('EXPIRE', KEYS[1], life)
redis.call('XADD', KEYS[2], ARGV[10] .. '-' .. (ARGV[10] + 1), 'e', ARGV[11])
redis.call('EXPIRE', KEYS[2], life)
redis.call('SADD', KEYS[3], ARGV[4])
redis.call('EXPIRE', KEYS[3], life)
if ARGV[6] == '1' then
  redis.call('HSET', KEYS[5], 'id', id, 'fingerprint', ARGV[5])
  redis.call('EXPIRE', KEYS[5], life)
end
return {'ok'}
