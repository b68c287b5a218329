-- Append to many logs of one partition; each turn is answered on its own. A failure that concerns every write (memory,
-- a read-only replica, a full disk) is raised instead: what was applied before it answers "duplicate" when the batch
-- is repeated.
-- KEYS of each share
--   turn       hash
--   log        stream
-- ARGV of each share
--   lease      under which it is written
--   after_seq  number of the last event before the entry
--   last_seq   number of the entry's last event
--   entry      its id in the stream is "<last_seq>-<number of its events>"
-- RESULT  for each share: 1 (ok, no stop asked for) | {status, last_seq, stop, lease} | {"broken", error}

-- What keeps an entry from being written that does not begin at the log's end, or nil where it may skip a hole. What it
-- includes is defined in here, as most calls never need it.
local function find_refusal()
--- @include "hash"
--- @include "write_result"
--- @include "hole"
  local turn_hash = read_hash(turn, 'lease', 'top', 'stop', 'end', 'fence', 'hole', 'back')
  if not turn_hash.fence then return LOST end
  if turn_hash['end'] then return write_result('finished', turn_hash) end
  if turn_hash.lease ~= lease then return write_result('fenced', turn_hash) end
  if is_over_hole(after_seq, turn_hash, lease) then return nil end
  if tonumber(turn_hash.top) >= tonumber(last_seq) then return write_result('duplicate', turn_hash) end
  return write_result('gap', turn_hash)
end

local function append()
  local found = redis.call('HMGET', turn, 'lease', 'top', 'stop')
  local held_lease, stored_seq, stop = found[1], found[2], found[3]
  if held_lease ~= lease or stored_seq ~= after_seq then
    local refusal = find_refusal()
    if refusal then return refusal end
  end
  if not redis.call('XADD', log, 'NOMKSTREAM', last_seq .. '-' .. (last_seq - after_seq), 'e', entry) then
    return {'lost', -1, 0, lease}
  end
  redis.call('HSET', turn, 'top', last_seq)
  if stop then return {'ok', tonumber(last_seq), 1, lease} end
  return 1
end

local function failure_of_every_write(message)
  for _, code in ipairs({'OOM ', 'READONLY', 'MISCONF', 'NOREPLICAS', 'NOPERM', 'MASTERDOWN', 'LOADING'}) do
    if string.find(message, code, 1, true) then return redis.error_reply(string.match(message, code .. '.*')) end
  end
end

local results = {}
for n = 1, share_count do
  select_share(n)
  local succeeded, result = pcall(append)
  if not succeeded then
    local message = type(result) == 'table' and result.err or tostring(result)
    local failure = failure_of_every_write(message)
    if failure then return failure end
    result = {'broken', message}
  end
  results[n] = result
end
return results
