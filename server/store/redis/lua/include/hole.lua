-- Whether an entry may begin HOLE numbers above the log's end: a claim found that entries may be missing there, or an
-- owner who came back writes its old entries again, holes included.
local function is_over_hole(after_seq, turn_hash, lease)
  if tonumber(after_seq) ~= tonumber(turn_hash.top) + HOLE then return false end
  return turn_hash.hole == turn_hash.top or turn_hash.back == lease
end
