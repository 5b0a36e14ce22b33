-- record.lua: the packed record of a task, little-endian. record.rs is its other half.
--   1 version = 1 · 2 state letter · 3-4 flags · 5 priority · 6-9 salt · 10-15 created, ms;
-- then, each only where its flag is set, in this order:
--   place 7 · attempts 1, crashes 1 · correlation as UUID 16 · traceparent 25 · expires, ms 6 · lane 1 + text ·
--   more 2 + fields of (tag 1, length 2, bytes);
-- the rest is the payload. A leased task keeps the letter of a ready one: `leases` says that it is leased.
local PLACE, COUNTS, UUID, TRACE, EXPIRES, LANE, MORE, PROGRESS, TAIL = 1, 2, 4, 8, 16, 32, 64, 128, 256
local MAX_ATTEMPTS, BACKOFF, HISTORY, ERRORS, SETTLED, REASON, HOLDER = 1, 2, 3, 4, 5, 6, 7
local LAST_TAG = 32
local MAX_CRASHES, ERRORS_KEPT, ERROR_BYTES, HISTORY_BYTES = 3, 5, 1000, 20 * 7

local sizes = {} -- flags -> bytes up to the lane
local function fixed_size(flags)
  local size = sizes[flags]
  if not size then
    size = 15
    for flag, bytes in pairs({ [PLACE] = 7, [COUNTS] = 2, [UUID] = 16, [TRACE] = 25, [EXPIRES] = 6 }) do
      if bit.band(flags, flag) ~= 0 then size = size + bytes end
    end
    sizes[flags] = size
  end
  return size
end

local function flags_of(record)
  local version, _, low, high = record:byte(1, 4)
  if version ~= 1 then error('a task record of an unknown version') end
  return low + 256 * high
end

-- Everything but the payload.
local function header(record)
  local flags = flags_of(record)
  local size = fixed_size(flags)
  if bit.band(flags, LANE) ~= 0 then size = size + 1 + record:byte(size + 1) end
  if bit.band(flags, MORE) ~= 0 then size = size + 2 + struct.unpack('<I2', record, size + 1) end
  return record:sub(1, size)
end

-- The moment from which on it must not start, or nil. `expires` stands right before the lane.
local function expiry(record)
  local flags = flags_of(record)
  if bit.band(flags, EXPIRES) == 0 then return nil end
  return (struct.unpack('<I6', record, fixed_size(flags) - 5))
end

local function unseal(record)
  local flags = flags_of(record)
  local function has(flag) return bit.band(flags, flag) ~= 0 end
  local task = { flags = flags, state = record:sub(2, 2), priority = record:byte(5), birth = record:sub(6, 15),
    attempts = 0, crashes = 0, lane = '', more = {} }
  local at = 16
  if has(PLACE) then task.place, at = struct.unpack('<I7', record, at) end
  if has(COUNTS) then task.attempts, task.crashes, at = struct.unpack('<BB', record, at) end
  local fixed = fixed_size(flags)
  task.trail = record:sub(at, fixed) -- correlation, traceparent, expiry: never changed here
  at = fixed + 1
  if has(LANE) then
    local length = record:byte(at)
    task.lane, at = record:sub(at + 1, at + length), at + 1 + length
  end
  if has(MORE) then
    local length
    length, at = struct.unpack('<I2', record, at)
    local stop = at + length
    while at < stop do
      local tag, size, from = struct.unpack('<BI2', record, at)
      task.more[tag], at = record:sub(from, from + size - 1), from + size
    end
  end
  task.payload = record:sub(at)
  return task
end

local function seal(task)
  local fields = {}
  for tag = 1, LAST_TAG do
    local bytes = task.more[tag]
    if bytes then fields[#fields + 1] = struct.pack('<BI2', tag, #bytes) .. bytes end
  end
  fields = table.concat(fields)
  local flags = bit.band(task.flags, bit.bnot(PLACE + COUNTS + MORE))
  local place, counts, more = '', '', ''
  if task.place then flags, place = flags + PLACE, struct.pack('<I7', task.place) end
  if task.attempts + task.crashes > 0 then
    flags, counts = flags + COUNTS, struct.pack('<BB', task.attempts, task.crashes)
  end
  if #fields > 0 then flags, more = flags + MORE, struct.pack('<I2', #fields) .. fields end
  local lane = bit.band(flags, LANE) ~= 0 and string.char(#task.lane) .. task.lane or ''
  return struct.pack('<Bc1I2B', 1, task.state, flags, task.priority) .. task.birth .. place
    .. counts .. task.trail .. lane .. more .. task.payload
end

-- Notes that the task entered a state (by its letter; 'l' is leased).
local function enter(task, letter, at)
  local past = (task.more[HISTORY] or '') .. letter .. struct.pack('<I6', at)
  task.more[HISTORY] = past:sub(-HISTORY_BYTES)
end

-- Notes an error; the oldest go.
local function note_error(task, at, message)
  message = message:sub(1, ERROR_BYTES)
  local past, from, kept = task.more[ERRORS] or '', 1, {}
  while from <= #past do
    local size = 9 + struct.unpack('<I2', past, from + 7)
    kept[#kept + 1] = past:sub(from, from + size - 1)
    from = from + size
  end
  while #kept >= ERRORS_KEPT do table.remove(kept, 1) end
  task.more[ERRORS] = table.concat(kept) .. struct.pack('<I6BI2', at, task.attempts, #message) .. message
end

local function rewrite(number, before, task)
  local after = seal(task)
  redis.call('HSET', names.tasks, number, after)
  count('bytes', #after - #before)
end
