-- due.lua: what time brings. Each structure in slices of at most 64, so that no call grows with the backlog.
local SLICE, EXPIRED_KEPT_MS = 64, 3600000

-- Members of a zset whose time has come, and when the next one's will (or nil).
local function slice(zset, now)
  local first = redis.call('ZRANGE', zset, 0, 0, 'WITHSCORES')
  if not first[1] then return {}, nil end
  if tonumber(first[2]) > now then return {}, tonumber(first[2]) end
  return redis.call('ZRANGEBYSCORE', zset, '-inf', now, 'LIMIT', 0, SLICE), now
end

local function earlier(one, other) return one and other and math.min(one, other) or one or other end

-- scheduled -> ready: a task draws its place when it first becomes ready.
local function start_scheduled(now)
  local due, next = slice(names.scheduled, now)
  if #due == 0 then return next end
  local place = redis.call('HINCRBY', names.counters, 'number', #due) - #due
  for _, member in ipairs(due) do
    local number = plain(member)
    local record = redis.call('HGET', names.tasks, number)
    if record then
      local task = unseal(record)
      place = place + 1
      task.state, task.place = 'r', place
      enter(task, 'r', now)
      rewrite(number, record, task)
      append(task.priority, task.lane, { plain(place) .. ':' .. number })
    end
  end
  redis.call('ZREM', names.scheduled, unpack(due))
  return next
end

-- retrying -> ready: at its old place, or behind everything when the task asked for that.
local function start_retrying(now)
  local due, next = slice(names.retrying, now)
  if #due == 0 then return next end
  for _, member in ipairs(due) do
    local number = plain(member)
    local record = redis.call('HGET', names.tasks, number)
    if record then
      local task = unseal(record)
      task.state = 'r'
      enter(task, 'r', now)
      if bit.band(task.flags, TAIL) ~= 0 then
        task.place = redis.call('HINCRBY', names.counters, 'number', 1)
        append(task.priority, task.lane, { plain(task.place) .. ':' .. number })
      else
        put_back(number, task)
      end
      rewrite(number, record, task)
    end
  end
  redis.call('ZREM', names.retrying, unpack(due))
  return next
end

-- leased -> ready at its place, or dead after the third lost lease.
local function reclaim(now)
  local due, next = slice(names.deadlines, now)
  if #due == 0 then return next end
  local holders, records = redis.call('HMGET', names.leases, unpack(due)), redis.call('HMGET', names.tasks, unpack(due))
  for i, number in ipairs(due) do
    local holder, record = holders[i], records[i]
    if holder and record then
      local task = unseal(record)
      local token, worker = holder:match('^(%d+):(.*)$')
      task.crashes = task.crashes + 1
      task.more[HOLDER] = holder
      enter(task, 'l', math.floor(tonumber(token) / 1000))
      note_error(task, now, 'lease lost by ' .. worker)
      count('crashed', 1)
      if task.crashes >= MAX_CRASHES then
        bury(number, record, task, 'crashed', now)
      else
        enter(task, 'r', now)
        put_back(number, task)
        rewrite(number, record, task)
      end
    end
  end
  redis.call('HDEL', names.leases, unpack(due))
  redis.call('ZREM', names.deadlines, unpack(due))
  return next
end

-- All three; answers when the next is due, ms, or nil; `now` when there may be more at once.
local function advance(now)
  return earlier(earlier(start_scheduled(now), start_retrying(now)), reclaim(now))
end

-- For `take`: what must not start any more.
local function expire(now)
  return function(number, record) cancel(number, record, 'expired', EXPIRED_KEPT_MS, now) end
end
