-- Delete a response, its log and, when nothing else uses them, its items. The tombstone lets no late write revive it.
-- KEYS
--   turn                 hash
--   log                  stream
--   unfinished           set of the partition's unfinished turns
--   response             hash
--   tombstone            string
--   conversation_prefix  makes the hash of a conversation
--   segment_prefix       makes the hash of a segment
--   items_prefix         makes the list of a segment's items
-- ARGV
--   id                   of the turn
--   member               the turn in `unfinished`
--   tombstone_ttl        seconds
--   is_withdrawal        "1": leave a tombstone even where nothing is there (yet); else ""
-- RESULT  1, or 0 if it was not there
--- @include "hash"
--- @include "release_segment"

local turn_hash = read_hash(turn, 'fence', 'once', 'conversation', 'leans', 'parent')
local response_hash = read_hash(response, 'status', 'once', 'segment')
local is_there = turn_hash.fence or response_hash.status
if is_there or is_withdrawal == '1' then redis.call('SET', tombstone, 1, 'EX', tombstone_ttl) end
if not is_there then return 0 end

local idempotency = turn_hash.once or response_hash.once
if idempotency and idempotency ~= '' then redis.call('DEL', idempotency) end
local conversation = turn_hash.conversation and conversation_prefix .. turn_hash.conversation
if conversation and redis.call('HGET', conversation, 'active') == id then
  redis.call('HDEL', conversation, 'active')
end
release_segment(segment_prefix, items_prefix, response_hash.segment)
if turn_hash.leans then release_segment(segment_prefix, items_prefix, turn_hash.parent) end
redis.call('SREM', unfinished, member)
redis.call('DEL', turn, log, response)
return 1
