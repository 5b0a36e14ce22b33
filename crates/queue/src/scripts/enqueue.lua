#!lua
-- enqueue.lua: take in tasks, each on its own. Brings new data, so a full Redis refuses it.
-- KEYS[1]  queue:{Q}   prefix of every key below; itself never a key
-- ARGV     per item: [1] bytes left or ''  [2] '' or hash and idempotency key  [3] due  [4] expires  [5] lane
--          [6] head of the record  [7] rest of the record (admission.lua has the details)
-- Returns  per item: number | `=` salt number | 'mismatch' | 'full'
-- Cost     O(items), a dozen commands for any number of them, one slot
-- Derives  queue:{Q}:counters  hash  number -> the last number given; lifetime totals; bytes
--          queue:{Q}:tasks  hash  number -> packed record
--          queue:{Q}:ready:<p>:<lane>  list · queue:{Q}:turns:<p>  zset · queue:{Q}:used  zset
--          queue:{Q}:scheduled  zset  number by due time · queue:{Q}:expiring  zset  number by expiry
--          queue:{Q}:repeats  hash  idempotency key -> hash of the body, salt, number
--          queue:{Q}:repeats-until  zset  idempotency key by the moment when it may go
--          queue:{Q}:wake  channel  'ready <n>' | 'due'
-- Shared   clock.lua, names.lua, lanes.lua, admission.lua
local items = {}
for at = 2, #ARGV, 7 do items[#items + 1] = { unpack(ARGV, at, at + 6) } end
return admit(items, false)
