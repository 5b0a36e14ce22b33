#!lua flags=allow-oom
-- check.lua: judge requests against their limits, and charge those that every limit lets through. Never refused by a
-- full server: it protects. Source of the algorithm and its proof: docs/ratelimit.md.
-- Shared: clock.lua runs.lua
-- KEYS[1]  rl:{S}:<policy>  string  runs of admissions, see runs.lua; one for each demand, item after item
-- ARGV     item after item: [1] I4 cost, B peek, B demands, then for each: B dry run, B windows, then for each: I4 limit,
--          I6 length in ms
-- Returns  an item each: B admitted, then for each demand: I6 now_ms, then for each window: I4 used, I6 ms until it has
--          more room, I6 ms until it would admit the cost (0: it does)
-- Cost     a GET a demand, a SET a demand when admitted (or when the clock was set back); O(runs) at most, 32 a window
local STEP_BACK_MS, RUNS, MOST_CLOSED, MOST_WINDOWS, MOST_UNITS = 2000, 31, 255, 8, 4294967295
local time = clock_ms()

-- The same runs, moved into the past: the clock was set back by more than is absorbed.
local function moved(value, by)
  local text = '\1'
  for _, w in ipairs(sections(value)) do
    local runs = {}
    for at = w.from, w.to, RUN_BYTES do
      local last, units = struct.unpack(RUN, value, at)
      runs[#runs + 1] = struct.pack(RUN, last - by, units)
    end
    w.first, w.last, w.from, w.to = w.first - by, w.last - by, 1, 0
    w.closed = 0
    text = text .. packed(w, '', table.concat(runs), #runs)
  end
  return text
end

-- Takes out of a window what is older than it. A run goes when its last admission does: nothing leaves early.
local function expire(w, value, now)
  local horizon = now - w.length
  while w.closed > 0 do
    local last, units = struct.unpack(RUN, value, w.from)
    if last >= horizon then
      w.oldest = last
      return
    end
    w.total, w.closed, w.from = w.total - units, w.closed - 1, w.from + RUN_BYTES
  end
  w.oldest = w.last
  if w.last < horizon then w.total, w.units = 0, 0 end
end

-- The window of that length in a value. A new one begins with the runs of one that knows as much: the next longer,
-- else the longest. A changed length must not refill anything.
local function find(all, index, length)
  local w = all[index]
  if w and w.length == length then return w end
  local source
  for n = 1, #all do
    local other = all[n]
    if other.length == length then return other end
    if not source or (source.length < length and other.length > source.length)
      or (other.length > length and other.length < source.length) then
      source = other
    end
  end
  local w = { length = length, total = 0, first = 0, last = 0, units = 0, closed = 0, from = 1, to = 0, oldest = 0,
    limit = false, wait = 0 }
  if source then
    w.total, w.first, w.last, w.units = source.total, source.first, source.last, source.units
    w.closed, w.from, w.to = source.closed, source.from, source.to
  end
  return w
end

-- In how many ms a run that ended then will have left. From the clock itself: it may be behind what it said before.
local function leaves_in(w, last) return last + w.length + 1 - time end

-- In how many ms so many units will have left.
local function wait_for(w, value, units)
  for at = w.from, w.to, RUN_BYTES do
    local last, gone = struct.unpack(RUN, value, at)
    units = units - gone
    if units <= 0 then return leaves_in(w, last) end
  end
  -- More than there are: a rehearsal of a cost above the limit, which never passes.
  return units <= w.units and leaves_in(w, w.last) or w.length + 1
end

-- One demand: its value and windows as they are now, and whether all of them have room.
local function judge(key, item, at, cost)
  local value = redis.call('GET', key)
  local all = sections(value)
  local now, newest = time, all[1] and all[1].last or 0
  if newest > time + STEP_BACK_MS then
    value = moved(value, newest - time)
    all = sections(value)
    -- Kept although nothing is admitted: moved again at the next look, it would never become older.
    redis.call('SET', key, value, 'KEEPTTL')
  elseif newest > time then
    now = newest
  end
  local demand = { key = key, value = value, now = now, all = all, windows = {}, passes = true }
  demand.dry, demand.count, at = struct.unpack('<BB', item, at)
  for index = 1, demand.count do
    local limit, length
    limit, length, at = struct.unpack('<I4I6', item, at)
    local w = find(all, index, length)
    w.limit, w.wait = limit, 0
    demand.windows[index] = w
  end
  -- Behind the search: what left one window may still count in a longer one that begins with its runs.
  for index = 1, demand.count do
    local w = demand.windows[index]
    expire(w, value, now)
    if w.total + cost > w.limit then
      w.wait = wait_for(w, value, w.total + cost - w.limit)
      demand.passes = false
    end
  end
  return demand, at
end

-- The windows that other limits asked for, while something counts in them. Of more than there is place for the longest
-- stay: they know what a shorter one knows.
local function others(demand)
  local kept = {}
  for n = 1, #demand.all do
    local w = demand.all[n]
    if not w.limit then
      expire(w, demand.value, demand.now)
      if w.total > 0 then kept[#kept + 1] = w end
    end
  end
  if #kept > MOST_WINDOWS - demand.count then
    table.sort(kept, function(one, other) return one.length > other.length end)
    for index = #kept, MOST_WINDOWS - demand.count + 1, -1 do kept[index] = nil end
  end
  return kept
end

-- A window with the cost in it, as text.
local function charged(w, demand, cost)
  local now, more, added = demand.now, '', 0
  -- Of a window that others asked for: more than four bytes count, and any limit allows, is full until all has left.
  if w.total + cost > MOST_UNITS then
    w.total, w.units, w.closed, w.from, w.to, cost = 0, 0, 0, 1, 0, MOST_UNITS
  end
  -- Up to 32 units each has a run of its own, and the window is exact to the millisecond.
  local grain = (w.limit or w.total + cost) <= RUNS + 1 and 1 or math.ceil(w.length / RUNS)
  -- A window that grew brings its runs along: beyond what a byte counts, the last one stays open.
  if w.units > 0 and (now - w.first < grain or w.closed == MOST_CLOSED) then
    w.units = w.units + cost
  else
    if w.units > 0 then more, added = struct.pack(RUN, w.last, w.units), 1 end
    w.first, w.units = now, cost
  end
  if w.closed + added == 0 then w.oldest = now end
  w.last, w.total = now, w.total + cost
  return packed(w, demand.value, more, added)
end

-- Writes the cost into every window of a count that is still known, whoever asked for it.
local function charge(demand, cost)
  local text, longest, windows = '\1', 0, others(demand)
  for index = 1, demand.count do table.insert(windows, index, demand.windows[index]) end
  for n = 1, #windows do
    text = text .. charged(windows[n], demand, cost)
    if windows[n].length > longest then longest = windows[n].length end
  end
  redis.call('SET', demand.key, text, 'PX', string.format('%.0f', longest + STEP_BACK_MS))
end

local function answer(demand)
  local text = struct.pack('<I6', demand.now)
  for index = 1, demand.count do
    local w = demand.windows[index]
    local room = w.total > 0 and leaves_in(w, w.oldest) or 0
    text = text .. struct.pack('<I4I6I6', w.total, room, w.wait)
  end
  return text
end

local function check(item, key, count, at, cost, peek)
  local demands, admitted = {}, true
  for n = 1, count do
    demands[n], at = judge(KEYS[key + n], item, at, cost)
    admitted = admitted and (demands[n].passes or demands[n].dry == 1)
  end
  -- Nothing is charged before everything was judged.
  if admitted and peek == 0 then
    for n = 1, count do
      if demands[n].passes then charge(demands[n], cost) end
    end
  end
  local text = admitted and '\1' or '\0'
  for n = 1, count do text = text .. answer(demands[n]) end
  return text
end

local answers, key = {}, 0
for i = 2, #ARGV do
  local cost, peek, count, at = struct.unpack('<I4BB', ARGV[i])
  local ok, outcome = pcall(check, ARGV[i], key, count, at, cost, peek)
  if not ok and type(outcome) ~= 'table' then outcome = redis.error_reply(outcome) end
  answers[i - 1] = outcome
  key = key + count
end
return answers
