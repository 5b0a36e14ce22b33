#!lua
-- enqueue_all.lua: take in a batch of tasks, all or none. Brings new data, so a full Redis refuses it.
-- KEYS[1]  queue:{Q}   prefix of every key below; itself never a key
-- ARGV     per item: as enqueue.lua, at most 1,000
-- Returns  per item: number | `=` salt number | 'mismatch' | 'full'; with one of the last two, nothing was written
-- Cost     O(items), a dozen commands and two a lane, one slot
-- Derives  as enqueue.lua
-- Shared   clock.lua, names.lua, lanes.lua, admission.lua
local items = {}
for at = 2, #ARGV, 7 do items[#items + 1] = { unpack(ARGV, at, at + 6) } end
return admit(items, true)
