#!lua flags=allow-oom
-- settle.lua: end leases: ack, nack or give back. May run on a full Redis: it frees more than it writes.
-- KEYS[1]  queue:{Q}   prefix of every key below; itself never a key
-- ARGV     per item: [1] number  [2] token  [3] 'ack' | 'retry' | 'die' | 'return'
--          [4] ack: ms to keep the outcome; retry: pause in ms, or ''  [5] ack: result; else message
--          [6] retry: `dice base_ms cap_ms`
-- Returns  per item: 'succeeded' | 'retrying' | 'dead' | 'ready', the same for a repeat; 'stale' | 'gone'
-- Cost     O(items log leased); nine commands for any number of acks, some five for each other item; one slot
-- Derives  as lease.lua, and queue:{Q}:results  hash  number -> result
-- Shared   clock.lua, names.lua, record.lua, lanes.lua, ending.lua, settling.lua
local items = {}
for at = 2, #ARGV, 6 do items[#items + 1] = { unpack(ARGV, at, at + 5) } end
local answers = settle(items, clock_ms())
write_totals()
tell()
return answers
