-- ending.lua: how a task ends. A dead one keeps its record; of others only the header stays, for a time:
-- outcome = version 1, ended ms 6, length of the holder 1, holder (`token:worker`, or empty), header of the record.

local function outcome(record, letter, holder, now)
  local kept = header(record)
  return struct.pack('<BI6B', 1, now, #holder) .. holder .. kept:sub(1, 1) .. letter .. kept:sub(3)
end

-- This end has no worker to tell of it, so the node whose tick finds it here does. Only what was leased once, or wants to
-- be seen, can have an operation.
local function leave_word(number, task, now)
  if task.more[HOLDER] or bit.band(task.flags, PROGRESS) ~= 0 then redis.call('ZADD', names.outbox, now, number) end
end

local function bury(number, before, task, reason, now)
  task.state, task.more[REASON] = 'd', reason
  enter(task, 'd', now)
  rewrite(number, before, task)
  redis.call('ZADD', names.dead, now, wide(number))
  if expiry(before) then redis.call('ZREM', names.expiring, number) end
  if reason == 'crashed' then leave_word(number, task, now) end
  count('died', 1)
  told.ended[#told.ended + 1] = number
end

-- Ends a task that waits or is leased, wherever it stands. In a ready list it leaves a ghost, which `take` skips.
local function cancel(number, record, reason, keep_ms, now)
  local task = unseal(record)
  local holder = redis.call('HGET', names.leases, number)
  if holder then
    redis.call('HDEL', names.leases, number)
    redis.call('ZREM', names.deadlines, number)
    enter(task, 'l', math.floor(tonumber(holder:match('^%d+')) / 1000))
    told.voided[#told.voided + 1] = number
  elseif task.state == 'r' then
    redis.call('ZREM', names['returned:' .. task.priority .. ':' .. task.lane], wide(number))
  else
    redis.call('ZREM', task.state == 's' and names.scheduled or names.retrying, wide(number))
  end
  if expiry(record) then redis.call('ZREM', names.expiring, number) end
  task.more[REASON] = reason
  local kept = outcome(seal(task), 'x', holder or '', now)
  redis.call('HDEL', names.tasks, number)
  redis.call('HSET', names.outcomes, number, kept)
  redis.call('ZADD', names.done, now + keep_ms, number)
  count('bytes', #kept + OUTCOME_BYTES - #record - TASK_BYTES)
  if reason == 'expired' then leave_word(number, task, now) end
  count('cancelled', 1)
  told.ended[#told.ended + 1] = number
end
