-- taking.lua: the order in which ready tasks are taken from their lanes.

-- Up to `want` numbers of one lane, by place.
local function from_lane(p, lane, want)
  local list, back = names['ready:' .. p .. ':' .. lane], names['returned:' .. p .. ':' .. lane]
  local returned = redis.call('ZRANGE', back, 0, want - 1, 'WITHSCORES')
  local numbers = {}
  if #returned == 0 then
    for i, item in ipairs(redis.call('LPOP', list, want) or {}) do numbers[i] = item:match(':(.*)') or item end
    return numbers
  end
  local items, popped, gone = redis.call('LRANGE', list, 0, want - 1), 0, {}
  while #numbers < want and (items[popped + 1] or returned[2 * #gone + 1]) do
    local item, member = items[popped + 1], returned[2 * #gone + 1]
    local place = item and tonumber(item:match('^%d+'))
    if member and (not place or tonumber(returned[2 * #gone + 2]) < place) then
      gone[#gone + 1] = member
      numbers[#numbers + 1] = plain(member)
    else
      popped = popped + 1
      numbers[#numbers + 1] = item:match(':(.*)') or item
    end
  end
  if popped > 0 then redis.call('LPOP', list, popped) end
  if #gone > 0 then redis.call('ZREM', back, unpack(gone)) end
  return numbers
end

-- How many tasks each lane of a priority gives: one by one, the lane of the lowest time first, each paying 1 for a
-- task. Looks at 16 lanes; a later one takes part when its time has come, in the next round.
local function shares(turns, want)
  local lanes = redis.call('ZRANGE', turns, 0, 16, 'WITHSCORES')
  local times, given, names_of = {}, {}, {}
  for i = 1, #lanes, 2 do
    names_of[#names_of + 1], times[#times + 1], given[#given + 1] = lanes[i], tonumber(lanes[i + 1]), 0
  end
  if #times <= 1 then return names_of, { want } end
  for _ = 1, want do
    local lowest = 1
    for i = 2, #times do if times[i] < times[lowest] then lowest = i end end
    if lowest == 17 then break end
    times[lowest], given[lowest] = times[lowest] + 1, given[lowest] + 1
  end
  return names_of, given
end

-- Up to `want` numbers of the best priority, in order; some may be ghosts. Closes the lanes that are empty.
local function from_priority(p, want)
  local turns = names['turns:' .. p]
  local lanes, given = shares(turns, want)
  local numbers, closed = {}, {}
  for i, lane in ipairs(lanes) do
    if given[i] > 0 then
      local found = from_lane(p, lane, given[i])
      for _, number in ipairs(found) do numbers[#numbers + 1] = number end
      if #found < given[i] then closed[#closed + 1] = lane
      elseif #lanes > 1 then redis.call('ZINCRBY', turns, #found, lane) end
    end
  end
  if #closed > 0 then redis.call('ZREM', turns, unpack(closed)) end
  if #closed == #lanes then redis.call('ZREM', names.used, p) end
  return numbers
end

-- Takes up to `want` tasks: numbers, records, and whether there may be more than this call gave. Passes over at most
-- 256 ghosts and empty lanes, and stops behind a MiB: a script copies every byte. So it begins with a few.
-- `expire(number, record)` is called for what must not start any more.
local FEW, SMALL_BYTES, MOST_BYTES = 8, 65536, 1048576
local function take(want, now, expire)
  local numbers, records, skipped, bytes = {}, {}, 0, 0
  while #numbers < want and skipped < 256 and bytes < MOST_BYTES do
    local p = redis.call('ZRANGE', names.used, 0, 0)[1]
    if not p then return numbers, records, false end
    local small = #numbers > 0 and bytes < SMALL_BYTES
    local found = from_priority(p, small and want - #numbers or math.min(want - #numbers, FEW))
    if #found == 0 then
      skipped = skipped + 1
    else
      for i, record in ipairs(redis.call('HMGET', names.tasks, unpack(found))) do
        local expires = record and expiry(record)
        if record and not (expires and expires <= now) then
          numbers[#numbers + 1], records[#records + 1] = found[i], record
          bytes = bytes + #record
        else
          skipped = skipped + 1
          if record then expire(found[i], record) end
        end
      end
    end
  end
  return numbers, records, #numbers < want
end
