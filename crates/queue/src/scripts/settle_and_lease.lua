#!lua flags=allow-oom
-- settle_and_lease.lua: one round of a worker: end what is finished, take what is next. May run on a full Redis.
-- KEYS[1]  queue:{Q}   prefix of every key below; itself never a key
-- ARGV     [2] how many, 1 to 64  [3] length of the lease, ms  [4] worker, then per item as settle.lua
-- Returns  what lease.lua answers, then what settle.lua answers per item
-- Cost     the sum of both; the overhead of a call, 6 to 10 µs, only once
-- Derives  as lease.lua and settle.lua
-- Shared   clock.lua, names.lua, record.lua, lanes.lua, taking.lua, ending.lua, due.lua, settling.lua, leasing.lua
local now, items = clock_ms(), {}
for at = 5, #ARGV, 6 do items[#items + 1] = { unpack(ARGV, at, at + 5) } end
local settled = #items > 0 and settle(items, now) or {}
local next = advance(now)
local leased = lease(tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], now, next)
write_totals()
tell()
return { leased, settled }
