-- Every unfinished turn of a partition. Renews their lifetimes once in a while, and drops members that are gone.
-- KEYS
--   unfinished      set of members
--   turn_prefix     with a member, makes the hash of a turn
--   log_prefix      with a member, makes the stream of its log
--   segment_prefix  with a caller's digest and an id, makes the hash of a segment
--   items_prefix    with the same, makes the list of its items
-- ARGV
--   session_ttl     seconds
--   fields          names of the turn's fields that are answered
-- RESULT  {{{member, value, ...}, ...}, {{member, what is wrong with it}, ...}}
--- @include "hash"
--- @include "expire_all"
--- @include "renew_segments"

local now = tonumber(redis.call('TIME')[1])
local renew_after = tonumber(session_ttl) / RENEWALS_PER_LIFETIME

-- What a turn continues lives as long as the turn.
local function renew(member, turn, turn_hash)
  redis.call('HSET', turn, 'renewed', now)
  expire_all(session_ttl, turn, log_prefix .. member, unfinished)
  if turn_hash.once then redis.call('EXPIRE', turn_hash.once, session_ttl) end
  local caller = string.match(member, '^[^:]*:')
  renew_segments(session_ttl, turn_hash.parent, segment_prefix .. caller, items_prefix .. caller)
end

local found, unreadable = {}, {}

local function list(member)
  local turn = turn_prefix .. member
  local turn_hash = read_hash(turn, 'end', 'renewed', 'fence', 'once', 'parent')
  if not turn_hash.fence or turn_hash['end'] then
    redis.call('SREM', unfinished, member)
    return
  end
  local renewed = tonumber(turn_hash.renewed)
  if not renewed or renewed > now or now - renewed > renew_after then renew(member, turn, turn_hash) end
  local values = redis.call('HMGET', turn, unpack(fields))
  table.insert(values, 1, member)
  found[#found + 1] = values
end

-- Each is judged alone: one whose keys hold values of another type must not hide the others.
for _, member in ipairs(redis.call('SMEMBERS', unfinished)) do
  local succeeded, failure = pcall(list, member)
  if not succeeded then
    local message = type(failure) == 'table' and failure.err or tostring(failure)
    unreadable[#unreadable + 1] = {member, message}
  end
end
return {found, unreadable}
