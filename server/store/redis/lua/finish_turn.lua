-- End a turn: terminal event, response, history, unlock, lifetimes. Only an unfinished turn has an end.
-- KEYS
--   turn                 hash
--   log                  stream
--   unfinished           set of the partition's unfinished turns
--   response             hash
--   conversation_prefix  makes the hash of a conversation
--   items_prefix         makes the list of a segment's items
--   positions_prefix     makes the hash of a conversation's item ids
--   segment_prefix       makes the hash of a segment
--   conversations        sorted set: the caller's
-- ARGV
--   id                   of the turn
--   member               the turn in `unfinished`
--   lease                under which it is written
--   after_seq            number of the last event before the entry
--   last_seq             number of the terminal event
--   entry                the log's last
--   status               of the turn from now on
--   response_json        what is kept of it
--   output               packed items
--   session_ttl          seconds: of the response, the history and the conversation
--   log_ttl              seconds: of the turn and its log
--   unkept_ttl           seconds: of everything, when the turn is not kept
-- RESULT  {status, last_seq, stop, lease}
--- @include "hash"
--- @include "write_result"
--- @include "hole"
--- @include "packed_items"
--- @include "expire_all"
--- @include "release_segment"
--- @include "renew_segments"
--- @include "segment_items"

local turn_hash = read_hash(turn, 'lease', 'top', 'stop', 'end', 'fence', 'kept', 'conversation', 'parent',
  'parent_at', 'input', 'once', 'first_input', 'last_input', 'hole', 'back', 'leans')
if not turn_hash.fence then return LOST end
if turn_hash['end'] then
  local is_repeated = turn_hash['end'] == lease and turn_hash.top == last_seq
  return write_result(is_repeated and 'duplicate' or 'finished', turn_hash)
end
if turn_hash.lease ~= lease then return write_result('fenced', turn_hash) end
if turn_hash.top ~= after_seq and not is_over_hole(after_seq, turn_hash, lease) then
  return write_result('gap', turn_hash)
end

local kept, conversation_id, parent = turn_hash.kept == '1', turn_hash.conversation, turn_hash.parent or ''
local entry_id = last_seq .. '-' .. (last_seq - after_seq)
if not redis.call('XADD', log, 'NOMKSTREAM', entry_id, 'e', entry, 'end', status) then
  return write_result('lost', turn_hash)
end
redis.call('HSET', turn, 'status', status, 'top', last_seq, 'lease', '', 'end', lease)
redis.call('HDEL', turn, 'offered', 'leans')
redis.call('SREM', unfinished, member)

-- Append packed items to a segment; the number of items that it has then.
local function push(segment_id, packed)
  for _, json in unpack_items(packed) do redis.call('RPUSH', items_prefix .. segment_id, json) end
  return redis.call('LLEN', items_prefix .. segment_id)
end

-- The same for a conversation, which knows the positions of its items.
local function push_named(packed)
  local items, positions = items_prefix .. conversation_id, positions_prefix .. conversation_id
  for item_id, json in unpack_items(packed) do
    redis.call('HSET', positions, item_id, redis.call('RPUSH', items, json) - 1)
  end
  return redis.call('LLEN', items)
end

-- The segment that takes a chain's new items: the parent's own at its end, else a new one with this turn's id.
local function find_segment()
  local own = segment_prefix .. id
  if parent == '' then
    redis.call('HSET', own, 'depth', 1, 'users', 0)
    return id
  end
  local parent_depth = redis.call('HGET', segment_prefix .. parent, 'depth')
  local ends_there = redis.call('LLEN', items_prefix .. parent) - 1 == tonumber(turn_hash.parent_at)
  if parent_depth and ends_there then return parent end
  local depth = tonumber(parent_depth or 0) + 1
  local copied = nil
  if depth > MAX_HISTORY_DEPTH or redis.call('EXISTS', conversation_prefix .. parent) == 1 then
    copied = read_segment_items(segment_prefix, items_prefix, conversation_prefix, parent, turn_hash.parent_at)
  end
  if copied then
    for _, json in ipairs(copied) do redis.call('RPUSH', items_prefix .. id, json) end
    redis.call('HSET', own, 'depth', 1, 'users', 0)
  else
    -- A parent that is gone is still named: the history must be missing, not shorter.
    redis.call('HSET', own, 'depth', depth, 'users', 0, 'parent', parent, 'parent_at', turn_hash.parent_at)
    if parent_depth then redis.call('HINCRBY', segment_prefix .. parent, 'users', 1) end
  end
  return id
end

local response_ttl = kept and session_ttl or unkept_ttl
local response_hash = {'response', response_json, 'status', status, 'once', turn_hash.once or ''}
local function set_checkpoint(segment_id, first_input, last_input, position)
  local fields = {'segment', segment_id, 'first_input', first_input, 'last_input', last_input, 'at', position}
  for _, value in ipairs(fields) do response_hash[#response_hash + 1] = value end
end

if conversation_id then
  local conversation = conversation_prefix .. conversation_id
  if redis.call('EXISTS', conversation) == 1 then
    local length = push_named(output)
    if redis.call('HGET', conversation, 'active') == id then redis.call('HDEL', conversation, 'active') end
    set_checkpoint(conversation_id, turn_hash.first_input, turn_hash.last_input, length - 1)
    expire_all(session_ttl, conversation, items_prefix .. conversation_id, positions_prefix .. conversation_id,
      conversations)
  end
elseif kept then
  local segment_id = find_segment()
  local first_input = redis.call('LLEN', items_prefix .. segment_id)
  local last_input = push(segment_id, turn_hash.input or '') - 1
  set_checkpoint(segment_id, first_input, last_input, push(segment_id, output) - 1)
  redis.call('HINCRBY', segment_prefix .. segment_id, 'users', 1)
  redis.call('HDEL', turn, 'input')
  renew_segments(session_ttl, segment_id, segment_prefix, items_prefix, conversation_prefix)
end

if turn_hash.leans then release_segment(segment_prefix, items_prefix, parent) end

redis.call('HSET', response, unpack(response_hash))
redis.call('EXPIRE', response, response_ttl)
if turn_hash.once then redis.call('EXPIRE', turn_hash.once, response_ttl) end
expire_all(kept and log_ttl or unkept_ttl, turn, log)
turn_hash.lease, turn_hash.top = '', last_seq
return write_result('ok', turn_hash)
