-- All items up to a checkpoint, across the segments that lead to it. Reading renews them.
-- KEYS
--   segment_prefix       makes the hash of a segment
--   items_prefix         makes the list of its items
--   conversation_prefix  makes the hash of a conversation
--   positions_prefix     makes the hash of a conversation's item ids
--   conversations        sorted set: the caller's
-- ARGV
--   segment              id of a segment or conversation
--   position             of the last item in it
--   most                 bytes of all items together, above which they are only counted
--   counted              bytes of which no more are counted
--   session_ttl          seconds
-- RESULT  items, oldest first; their bytes as a number when there are more than `most`; nil when any of it is gone
--- @include "segment_items"
--- @include "renew_segments"

local path = find_segment_path(segment_prefix, items_prefix, conversation_prefix, segment, position)
if not path then return false end
local found, size = read_path(path, tonumber(most), tonumber(counted))
if not found then return size end
renew_segments(session_ttl, segment, segment_prefix, items_prefix, conversation_prefix, positions_prefix)
redis.call('EXPIRE', conversations, session_ttl)
return found
