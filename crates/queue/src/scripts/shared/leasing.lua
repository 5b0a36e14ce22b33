-- leasing.lua: how tasks are given to workers.
-- Answers one request: { more ('more' or ''), ms until the next is due or '', token, end of the leases, number,
-- record, number, record, … }; the token and all behind it are missing when there was no task.
local function lease(want, lease_ms, worker, now, next)
  local numbers, records, more = take(want, now, expire(now))
  local answer = { more and 'more' or '', next and plain(math.max(0, next - now)) or '' }
  if #numbers == 0 then return answer end
  local token = next_stamp(redis.call('HGET', names.counters, 'stamp'))
  redis.call('HSET', names.counters, 'stamp', token)
  local holder, ends = token .. ':' .. worker, plain(now + lease_ms)
  local held, deadlines = {}, {}
  answer[3], answer[4] = token, ends
  for i, number in ipairs(numbers) do
    held[2 * i - 1], held[2 * i] = number, holder
    deadlines[2 * i - 1], deadlines[2 * i] = ends, number
    answer[2 * i + 3], answer[2 * i + 4] = number, records[i]
  end
  redis.call('HSET', names.leases, unpack(held))
  redis.call('ZADD', names.deadlines, unpack(deadlines))
  count('leased', #numbers)
  told.ready = math.max(0, told.ready - #numbers) -- what this very call made ready is news for others only when left
  return answer
end
