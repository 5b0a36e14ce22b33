#!lua flags=allow-oom
-- tick.lua: what time brings to a queue that nobody asks: due and lost tasks ready, expired ones cancelled, old
-- outcomes and idempotency keys gone. Each in a slice of at most 64. May run on a full Redis: it frees.
-- KEYS[1]  queue:{Q}   prefix of every key below; itself never a key
-- ARGV     none but the clock
-- Returns  { ms until the next thing is due, 0 when there may be more now, or '' ; bytes that the queue holds ;
--          numbers that have ended with no worker to tell of it, until `Queue::told` takes them off }
-- Cost     O(64 log waiting) at most, whatever the backlog
-- Derives  as lease.lua and settle.lua, and queue:{Q}:repeats  hash · queue:{Q}:repeats-until  zset
-- Shared   clock.lua, names.lua, record.lua, lanes.lua, ending.lua, due.lua
local RECHECK_MS = 600000
local now = clock_ms()
local next = advance(now)

-- Not started in time. A leased task is looked at again later: a retry must not start either.
local expired, later = slice(names.expiring, now)
next = earlier(next, later)
for _, number in ipairs(expired) do
  local record = redis.call('HGET', names.tasks, number)
  if record and redis.call('HEXISTS', names.leases, number) == 1 then
    redis.call('ZADD', names.expiring, now + 60000, number)
  elseif record and record:sub(2, 2) ~= 'd' then
    cancel(number, record, 'expired', EXPIRED_KEPT_MS, now)
  else
    redis.call('ZREM', names.expiring, number)
  end
end

-- Outcomes and results whose time is over.
local old
old, later = slice(names.done, now)
next = earlier(next, later)
if #old > 0 then
  for _, kept in ipairs(redis.call('HMGET', names.outcomes, unpack(old))) do
    if kept then count('bytes', -#kept - OUTCOME_BYTES) end
  end
  if redis.call('EXISTS', names.results) == 1 then
    for _, number in ipairs(old) do
      local size = redis.call('HSTRLEN', names.results, number)
      if size > 0 then count('bytes', -size - RESULT_BYTES) end
    end
    redis.call('HDEL', names.results, unpack(old))
  end
  redis.call('HDEL', names.outcomes, unpack(old))
  redis.call('ZREM', names.done, unpack(old))
end

-- Idempotency keys: after 24 h they go once their task has ended.
old, later = slice(names['repeats-until'], now)
next = earlier(next, later)
for _, key in ipairs(old) do
  local memory = redis.call('HGET', names.repeats, key)
  local record = memory and redis.call('HGET', names.tasks, memory:sub(21))
  if record and record:sub(2, 2) ~= 'd' then
    redis.call('ZADD', names['repeats-until'], now + RECHECK_MS, key)
  else
    redis.call('HDEL', names.repeats, key)
    redis.call('ZREM', names['repeats-until'], key)
    count('bytes', -REPEAT_BYTES - 2 * #key)
  end
end
write_totals()
tell()
return { next and plain(math.max(0, next - now)) or '', redis.call('HGET', names.counters, 'bytes') or '0',
  redis.call('ZRANGE', names.outbox, 0, SLICE - 1) }
