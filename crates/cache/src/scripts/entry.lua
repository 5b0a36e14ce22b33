-- entry.lua (shared): the head of a packed entry, and the one rule that says what it is worth.
-- The layout is drawn in entry.rs: version u8, codec u8, stamp u64, created u64, soft end u64, end u64,
-- size u32, etag 16 B, length of the head u16, tags (count u8, then each u8 + text), content type.
local ENTRY_VERSION, FIXED_HEAD = 1, 56

-- Judges the entry under `key` at `now`. Returns 'live' | 'absent' | 'expired' | 'invalidated' | 'forgotten' |
-- 'unreadable', and the bytes of its head ('' where there is none). At most 3 commands.
local function judge(key, gen, now)
  -- Enough for the head of most; never the payload, which would cost four times a GET.
  local head = redis.call('GETRANGE', key, 0, 191)
  if head == '' then return 'absent', '' end
  if #head <= FIXED_HEAD or head:byte(1) ~= ENTRY_VERSION then return 'unreadable', '' end
  local length = struct.unpack('>I2', head, 55)
  if length <= FIXED_HEAD then return 'unreadable', '' end
  head = #head < length and redis.call('GETRANGE', key, 0, length - 1) or head:sub(1, length)
  if struct.unpack('>I8', head, 27) <= now then return 'expired', head end
  local fields, at = { 'p' }, FIXED_HEAD + 2
  for i = 1, head:byte(FIXED_HEAD + 1) do
    local size = head:byte(at)
    fields[i + 1] = 't:' .. head:sub(at + 1, at + size)
    at = at + 1 + size
  end
  local stamp, marks = struct.unpack('>I8', head, 3), redis.call('HMGET', gen, unpack(fields))
  -- Without the project's mark nobody knows what was invalidated: a miss, never a guess.
  if not marks[1] then return 'forgotten', head end
  for i = 1, #fields do
    if marks[i] and tonumber(marks[i]) > stamp then return 'invalidated', head end
  end
  return 'live', head
end

-- Whether `condition` names the entry: '*' any live one, '=' and 16 bytes per entity tag.
local function names_it(condition, word, head)
  if word ~= 'live' then return false end
  if condition == '*' then return true end
  local etag = head:sub(39, 54)
  for at = 2, #condition, 16 do
    if condition:sub(at, at + 15) == etag then return true end
  end
  return false
end

-- RFC 9110, 13.2.2 for a method that writes: both conditions must hold; '' is no condition.
local function admits(if_match, if_none_match, word, head)
  if if_match ~= '' and not names_it(if_match, word, head) then return false end
  return if_none_match == '' or not names_it(if_none_match, word, head)
end
