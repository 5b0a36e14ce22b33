-- admission.lua: how tasks come in. An item is { left, repeat, due, expires, lane, head, rest }:
--   left     bytes that the queues may still take, or '' for no bound
--   repeat   '' or 16 bytes of the body's hash, then the idempotency key
--   due      '' at once, `+ms` after a delay, or the moment in ms
--   expires  '' or the moment in ms (also inside `rest`)
--   lane     its name, or ''
--   head     the record's first 9 bytes: version, state letter, flags, priority, salt
--   rest     what follows the 6 bytes of `created`
-- Answers per item: the number | `=` salt number (a repeat) | 'mismatch' | 'full'. Not `together`: each on its own;
-- together: nothing is written unless all are taken, and the others of a refused batch are answered ''.
local KEPT_MS = 86400000

-- What the key of a repeat leads to: `=` salt number, 'mismatch', or nil.
local function known(memory, hash)
  if not memory then return nil end
  return memory:sub(1, 16) == hash and '=' .. memory:sub(17) or 'mismatch'
end

local function due_of(item, now)
  if item[3] == '' then return now end
  if item[3]:sub(1, 1) == '+' then return now + tonumber(item[3]:sub(2)) end
  return tonumber(item[3])
end

-- Whether one of these (score, member, …) is due before all others: only then somebody's timer is set too late.
local function is_first(zset, pairs_of)
  local first = redis.call('ZRANGE', zset, 0, 0)[1]
  for i = 2, #pairs_of, 2 do if pairs_of[i] == first then return true end end
  return false
end

-- Which items are new, what the others are answered, and whether any is refused. Writes nothing.
local function judge(items)
  local answers, fresh, keys, refused, size = {}, {}, {}, false, 0
  for i, item in ipairs(items) do if item[2] ~= '' then keys[#keys + 1] = item[2]:sub(17) end end
  local memories, at = #keys > 0 and redis.call('HMGET', names.repeats, unpack(keys)) or {}, 0
  local first_of = {} -- key -> the item of this very call that brings it
  for i, item in ipairs(items) do
    local bytes = #item[6] + 6 + #item[7] + TASK_BYTES
    if item[2] ~= '' then
      at = at + 1
      bytes = bytes + REPEAT_BYTES + 2 * #keys[at]
      local hash, twin = item[2]:sub(1, 16), first_of[keys[at]]
      answers[i] = known(memories[at], hash)
      if twin then answers[i] = items[twin][2] == item[2] and twin or 'mismatch' end
    end
    if not answers[i] then
      if item[1] ~= '' and size + bytes > tonumber(item[1]) then
        answers[i] = 'full'
      else
        size, fresh[#fresh + 1] = size + bytes, i
        if item[2] ~= '' then first_of[keys[at]] = i end
      end
    end
    refused = refused or answers[i] == 'full' or answers[i] == 'mismatch'
  end
  count('bytes', size)
  return answers, fresh, refused
end

local function admit(items, together)
  local answers, fresh, refused = judge(items)
  if together and refused then
    for i in ipairs(items) do
      if answers[i] ~= 'full' and answers[i] ~= 'mismatch' then answers[i] = '' end
    end
    return answers
  end
  if #fresh == 0 then return answers end
  local now = clock_ms()
  local created = struct.pack('<I6', now)
  local number = redis.call('HINCRBY', names.counters, 'number', #fresh) - #fresh
  local records, lanes, order, scheduled, expiring, repeats, until_ = {}, {}, {}, {}, {}, {}, {}
  for _, i in ipairs(fresh) do
    local item = items[i]
    number = number + 1
    local text, head, due = string.format('%.0f', number), item[6], due_of(item, now)
    if due > now then
      head = head:sub(1, 1) .. 's' .. head:sub(3)
      scheduled[#scheduled + 1], scheduled[#scheduled + 2] = due, wide(number)
    else
      local p = head:byte(5)
      local lane = p .. ':' .. item[5]
      if not lanes[lane] then
        lanes[lane] = { p = p, name = item[5], items = {} }
        order[#order + 1] = lane
      end
      table.insert(lanes[lane].items, text)
    end
    records[#records + 1], records[#records + 2] = text, head .. created .. item[7]
    if item[4] ~= '' then expiring[#expiring + 1], expiring[#expiring + 2] = item[4], text end
    if item[2] ~= '' then
      local key = item[2]:sub(17)
      repeats[#repeats + 1], repeats[#repeats + 2] = key, item[2]:sub(1, 16) .. head:sub(6, 9) .. text
      until_[#until_ + 1], until_[#until_ + 2] = now + KEPT_MS, key
    end
    answers[i] = text
  end
  for i, item in ipairs(items) do -- a twin in the same call
    if type(answers[i]) == 'number' then answers[i] = '=' .. items[answers[i]][6]:sub(6, 9) .. answers[answers[i]] end
  end
  redis.call('HSET', names.tasks, unpack(records))
  for _, lane in ipairs(order) do append(lanes[lane].p, lanes[lane].name, lanes[lane].items) end
  if #scheduled > 0 then
    redis.call('ZADD', names.scheduled, unpack(scheduled))
    told.due = told.due or is_first(names.scheduled, scheduled)
  end
  if #expiring > 0 then redis.call('ZADD', names.expiring, unpack(expiring)) end
  if #repeats > 0 then
    redis.call('HSET', names.repeats, unpack(repeats))
    redis.call('ZADD', names['repeats-until'], unpack(until_))
  end
  count('enqueued', #fresh)
  write_totals()
  tell()
  return answers
end
