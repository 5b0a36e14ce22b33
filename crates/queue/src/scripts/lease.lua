#!lua flags=allow-oom
-- lease.lua: give ready tasks to workers. May run on a full Redis: it drains.
-- First moves what time has brought, so that an idle worker gets a due task or a dead worker's task at once.
-- KEYS[1]  queue:{Q}   prefix of every key below; itself never a key
-- ARGV     per item: [1] how many, 1 to 64  [2] length of the lease, ms  [3] worker
-- Returns  per item: more, ms until the next is due or '', then unless there was none: token, end of the leases, ms,
--          and number, record of each task
-- Cost     O(tasks + log waiting) and slices of at most 64; at most 256 ghosts and a MiB, then 'more'
-- Derives  queue:{Q}:tasks  hash  number -> packed record
--          queue:{Q}:leases  hash  number -> token:worker · queue:{Q}:deadlines  zset  number by end of its lease
--          queue:{Q}:ready:<p>:<lane>  list · queue:{Q}:returned:<p>:<lane>  zset  number by place
--          queue:{Q}:turns:<p>  zset  lane by virtual time · queue:{Q}:used  zset  priorities that have tasks
--          queue:{Q}:scheduled, retrying, expiring, dead, done, outbox  zsets  number by time
--          queue:{Q}:outcomes  hash  number -> packed outcome · queue:{Q}:counters  hash
--          queue:{Q}:wake  channel  'ready <n>' · queue:{Q}:ends  channel  numbers
-- Shared   clock.lua, names.lua, record.lua, lanes.lua, taking.lua, ending.lua, due.lua, leasing.lua
local now = clock_ms()
local next = advance(now)
local answers = {}
for at = 2, #ARGV, 3 do
  answers[#answers + 1] = lease(tonumber(ARGV[at]), tonumber(ARGV[at + 1]), ARGV[at + 2], now, next)
end
write_totals()
tell()
return answers
