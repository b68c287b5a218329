-- What a guarded write answers: {status, last_seq, stop, lease}, from a turn's fields `top`, `stop` and `lease`.
local LOST = {'lost', -1, 0, ''}
local function write_result(status, turn_hash)
  return {status, tonumber(turn_hash.top), turn_hash.stop and 1 or 0, turn_hash.lease}
end
