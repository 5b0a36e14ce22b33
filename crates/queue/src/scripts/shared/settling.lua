-- settling.lua: how leases end. An item is { number, token, verb, a, b, c }:
--   ack    a keep, ms               b result
--   retry  a pause, ms, or ''       b message  c `dice base_ms cap_ms`, for a pause by full jitter
--   die                             b message
--   return                          (costs no attempt, keeps the place)
-- Answers per item: succeeded | retrying | dead | ready | stale | gone; a repeat gets its first answer.
local WORDS = { o = 'succeeded', t = 'retrying', d = 'dead', r = 'ready' }
-- What each verb can have led to: who says something else than before is no repeat, but late.
local LED_TO = { ack = 'o', retry = 'td', die = 'd', ['return'] = 'r' }

local function holds(holder, token) return holder:sub(1, #token + 1) == token .. ':' end

-- The token is not the latest. Was this very call applied before?
local function settled_before(item)
  local number, token, led_to = item[1], item[2], LED_TO[item[3]]
  local kept = redis.call('HGET', names.outcomes, number)
  if kept then
    local length = kept:byte(8)
    local applied = holds(kept:sub(9, 8 + length), token) and kept:sub(10 + length, 10 + length) == 'o'
    return applied and led_to == 'o' and 'succeeded' or 'stale'
  end
  local record = redis.call('HGET', names.tasks, number)
  if not record then return 'gone' end
  local settled = unseal(record).more[SETTLED]
  local applied = settled and holds(settled, token) and led_to:find(settled:sub(-1), 1, true)
  return applied and WORDS[settled:sub(-1)] or 'stale'
end

-- A pause between 0 and min(cap, base * 2^(attempt - 2)), before the attempt that comes next.
local function pause(task, item)
  if item[4] ~= '' then return tonumber(item[4]) end
  local dice, base, cap = item[6]:match('^(%S+) (%S+) (%S+)$')
  if task.more[BACKOFF] then base, cap = struct.unpack('<I6I6', task.more[BACKOFF]) end
  local longest = math.min(tonumber(cap), tonumber(base) * 2 ^ (task.attempts - 1))
  return math.floor(tonumber(dice) * (longest + 1))
end

-- Anything but an ack: the record is written again.
local function leave(item, holder, record, now)
  local number, token, verb = item[1], item[2], item[3]
  local task = unseal(record)
  task.more[HOLDER] = holder
  enter(task, 'l', math.floor(tonumber(token) / 1000))
  if verb == 'return' then
    task.more[SETTLED] = token .. ':r'
    enter(task, 'r', now)
    put_back(number, task)
    rewrite(number, record, task)
    return 'ready'
  end
  task.attempts = task.attempts + 1
  note_error(task, now, item[5])
  count('failed', 1)
  local most = task.more[MAX_ATTEMPTS] and task.more[MAX_ATTEMPTS]:byte() or 3
  if verb == 'die' or task.attempts >= most then
    task.more[SETTLED] = token .. ':d'
    bury(number, record, task, verb == 'die' and 'not-retryable' or 'attempts', now)
    return 'dead'
  end
  task.state, task.more[SETTLED] = 't', token .. ':t'
  enter(task, 't', now)
  rewrite(number, record, task)
  redis.call('ZADD', names.retrying, now + pause(task, item), wide(number))
  -- Only then somebody's timer is set too late.
  told.due = told.due or redis.call('ZRANGE', names.retrying, 0, 0)[1] == wide(number)
  return 'retrying'
end

local function settle(items, now)
  local answers, numbers, seen, later = {}, {}, {}, {}
  for i, item in ipairs(items) do numbers[i] = item[1] end
  local holders = redis.call('HMGET', names.leases, unpack(numbers))
  local records = redis.call('HMGET', names.tasks, unpack(numbers))
  local freed, acked, kept, kept_until, results, unexpiring = {}, {}, {}, {}, {}, {}
  for i, item in ipairs(items) do
    local number, token, holder, record = item[1], item[2], holders[i], records[i]
    if seen[number] then
      later[#later + 1] = i
    elseif not holder or not record or not holds(holder, token) then
      answers[i] = settled_before(item)
    else
      seen[number] = true
      freed[#freed + 1] = number
      if item[3] == 'ack' then
        if expiry(record) then unexpiring[#unexpiring + 1] = number end
        local end_of = outcome(record, 'o', holder, now)
        acked[#acked + 1] = number
        kept[#kept + 1], kept[#kept + 2] = number, end_of
        kept_until[#kept_until + 1], kept_until[#kept_until + 2] = plain(now + item[4]), number
        count('bytes', #end_of + OUTCOME_BYTES - #record - TASK_BYTES)
        if item[5] ~= '' then
          results[#results + 1], results[#results + 2] = number, item[5]
          count('bytes', #item[5] + RESULT_BYTES)
        end
        told.ended[#told.ended + 1] = number
        answers[i] = 'succeeded'
      else
        answers[i] = leave(item, holder, record, now)
      end
    end
  end
  if #freed > 0 then
    redis.call('HDEL', names.leases, unpack(freed))
    redis.call('ZREM', names.deadlines, unpack(freed))
  end
  if #acked > 0 then
    redis.call('HDEL', names.tasks, unpack(acked))
    redis.call('HSET', names.outcomes, unpack(kept))
    redis.call('ZADD', names.done, unpack(kept_until))
    count('succeeded', #acked)
  end
  if #results > 0 then redis.call('HSET', names.results, unpack(results)) end
  if #unexpiring > 0 then redis.call('ZREM', names.expiring, unpack(unexpiring)) end
  for _, i in ipairs(later) do answers[i] = settled_before(items[i]) end
  return answers
end
