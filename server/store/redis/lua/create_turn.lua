-- Admit a turn: everything is written, or nothing.
-- KEYS
--   turn             hash
--   log              stream
--   unfinished       set of the partition's unfinished turns
--   tombstone        is there when this turn was deleted
--   idempotency      hash of the idempotency key, if it has one
--   conversation     hash
--   items            list: the conversation's
--   positions        hash of item ids: the conversation's
--   conversations    sorted set: the caller's
--   turn_prefix      makes the key of a turn that locks the conversation
--   parent_segment   hash of the segment that the turn continues
-- ARGV
--   session_ttl      seconds
--   id               of the turn
--   caller           its name
--   member           the turn in `unfinished`
--   fingerprint      digest of the request
--   is_idempotent    "1" or ""
--   conversation_id  or ""
--   lease            "fence:owner", or "" for a queued turn
--   last_seq         number of the entry's last event
--   entry            the log's first
--   kept             "1" or ""
--   parent           id of the segment that the turn continues, or ""
--   parent_position  where the parent's items end; a conversation must end there still
--   input            packed items
--   record           name, value, ...
-- RESULT  {"ok"} | {"existing", id} | {"reused"} | {"missing"} | {"locked", turn} | {"moved"}
--- @include "packed_items"
--- @include "running_turn"
--- @include "expire_all"
--- @include "redis_run"

if is_idempotent == '1' then
  local known_id, known_fingerprint = unpack(redis.call('HMGET', idempotency, 'id', 'fingerprint'))
  if known_id then
    if known_fingerprint ~= fingerprint then return {'reused'} end
    return {'existing', known_id}
  end
end
if redis.call('EXISTS', turn, tombstone) > 0 then return {'ok'} end

if conversation_id ~= '' then
  if redis.call('EXISTS', conversation) == 0 then return {'missing'} end
  local running = find_running_turn(conversation, turn_prefix)
  if running then return {'locked', running} end
  if parent ~= '' and redis.call('LLEN', items) - 1 ~= tonumber(parent_position) then return {'moved'} end
end

local seconds, microseconds = unpack(redis.call('TIME'))
local turn_hash = {
  'caller', caller, 'status', lease == '' and QUEUED or IN_PROGRESS, 'top', last_seq,
  'lease', lease, 'fence', string.match(lease, '^(%d+):') or '0', 'fingerprint', fingerprint, 'kept', kept,
  'created', seconds .. '.' .. string.format('%06d', microseconds), 'renewed', seconds, 'run', redis_run_id(),
}
local function set(field, value) turn_hash[#turn_hash + 1] = field; turn_hash[#turn_hash + 1] = value end
if is_idempotent == '1' then set('once', idempotency) end
for n = 1, #record, 2 do set('r:' .. record[n], record[n + 1]) end

if conversation_id == '' then
  set('parent', parent); set('parent_at', parent_position); set('input', input)
  -- A running turn is a user of what it continues, so that its prompt can be rendered again from there.
  if redis.call('EXISTS', parent_segment) == 1 then
    redis.call('HINCRBY', parent_segment, 'users', 1)
    set('leans', 1)
  end
else
  local first_position = redis.call('LLEN', items)
  local next_position = first_position
  for item_id, json in unpack_items(input) do
    redis.call('RPUSH', items, json)
    redis.call('HSET', positions, item_id, next_position)
    next_position = next_position + 1
  end
  redis.call('HSET', conversation, 'active', id)
  set('conversation', conversation_id); set('first_input', first_position); set('last_input', next_position - 1)
  expire_all(session_ttl, conversation, items, positions, conversations)
end

redis.call('HSET', turn, unpack(turn_hash))
redis.call('XADD', log, last_seq .. '-' .. (last_seq + 1), 'e', entry)
redis.call('SADD', unfinished, member)
expire_all(session_ttl, turn, log, unfinished)
if is_idempotent == '1' then
  redis.call('HSET', idempotency, 'id', id, 'fingerprint', fingerprint)
  redis.call('EXPIRE', idempotency, session_ttl)
end
return {'ok'}
