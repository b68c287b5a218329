-- Take a turn: raise the fence, if the lease is still the one that was seen.
-- KEYS
--   turn         hash
-- ARGV
--   seen_lease   "fence:owner" as the claimer read it, "" for a queued turn
--   owner        who claims
--   above        fence that the new one must exceed, for an owner who comes back to an older Redis; 0 for all others
--   intact_runs  run ids of earlier processes of this Redis after which nothing was lost, with commas between
-- RESULT  {status, last_seq, stop, lease, hole, claims, idle claims}
--- @include "hash"
--- @include "write_result"
--- @include "redis_run"

local turn_hash = read_hash(turn, 'lease', 'top', 'stop', 'end', 'fence', 'offered', 'claimed_at', 'claims', 'idle',
  'run', 'hole')
if not turn_hash.fence then return {'lost', -1, 0, '', 0, 0, 0} end
local claims, idle_claims = tonumber(turn_hash.claims or 0), tonumber(turn_hash.idle or 0)
local function claim_result(status)
  local result = write_result(status, turn_hash)
  result[5], result[6], result[7] = turn_hash.hole == turn_hash.top and 1 or 0, claims, idle_claims
  return result
end
if turn_hash['end'] then return claim_result('finished') end
if turn_hash.lease ~= seen_lease then
  return claim_result(string.match(turn_hash.lease, '^%d+:(.*)$') == owner and 'duplicate' or 'fenced')
end

local comes_back = above ~= '0'
local run_id = redis_run_id()
local fence = math.max(tonumber(turn_hash.fence), tonumber(above)) + 1
local lease = fence .. ':' .. owner
local changes = {
  'lease', lease, 'fence', fence, 'status', IN_PROGRESS, 'claimed_at', turn_hash.top, 'run', run_id,
}
local function set(field, value) changes[#changes + 1] = field; changes[#changes + 1] = value end
if seen_lease ~= '' and not comes_back then
  -- Claims from a dead owner are counted, hand-overs are not. Idle claims are those since the log last grew.
  if not turn_hash.offered then
    claims = claims + 1
    idle_claims = (turn_hash.claimed_at == turn_hash.top and idle_claims or 0) + 1
    set('claims', claims); set('idle', idle_claims)
  end
end
if comes_back then
  -- An owner who comes back writes again what it had written, holes included.
  set('back', lease)
elseif turn_hash.run ~= run_id and not (turn_hash.run and string.find(intact_runs, turn_hash.run, 1, true)) then
  -- Another process of Redis than at the last claim: an owner may have written entries that are lost. That holds for a
  -- turn without an owner too, whose claim may be what was lost first.
  turn_hash.hole = turn_hash.top
  set('hole', turn_hash.top)
end
redis.call('HSET', turn, unpack(changes))
redis.call('HDEL', turn, 'offered')
turn_hash.lease = lease
return claim_result('ok')
