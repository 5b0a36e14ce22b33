#!lua flags=allow-oom
-- retry.lua: give a dead letter another life: both counts at zero, behind everything that is ready.
-- KEYS[1]  queue:{Q}   prefix of every key below; itself never a key
-- ARGV     [2] number  [3] salt, 4 bytes
-- Returns  'ready' | 'alive' | 'finished' | 'gone'
-- Cost     O(log dead), some nine commands, one slot
-- Derives  queue:{Q}:tasks, outcomes, counters  hashes · queue:{Q}:dead, outbox, used, turns:<p>  zsets
--          queue:{Q}:ready:<p>:<lane>  list · queue:{Q}:expiring  zset · queue:{Q}:wake  channel
-- Shared   clock.lua, names.lua, record.lua, lanes.lua
local number, now = ARGV[2], clock_ms()
local record = redis.call('HGET', names.tasks, number)
if not record then return redis.call('HEXISTS', names.outcomes, number) == 1 and 'finished' or 'gone' end
if record:sub(6, 9) ~= ARGV[3] then return 'gone' end
if record:sub(2, 2) ~= 'd' then return 'alive' end
local task = unseal(record)
task.state, task.attempts, task.crashes, task.more[REASON], task.more[SETTLED] = 'r', 0, 0, nil, nil
task.place = redis.call('HINCRBY', names.counters, 'number', 1)
enter(task, 'r', now)
rewrite(number, record, task)
redis.call('ZREM', names.dead, wide(number))
redis.call('ZREM', names.outbox, number) -- its end is none any more
if expiry(record) then redis.call('ZADD', names.expiring, expiry(record), number) end
append(task.priority, task.lane, { plain(task.place) .. ':' .. number })
count('retried_by_hand', 1)
write_totals()
tell()
return 'ready'
