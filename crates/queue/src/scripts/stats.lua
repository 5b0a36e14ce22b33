#!lua flags=no-writes
-- stats.lua: how deep a queue is. Depths are the sizes of the structures: no count is kept that could drift.
-- KEYS[1]  queue:{Q}   prefix of every key below; itself never a key
-- ARGV     none but the clock
-- Returns  { scheduled, retrying, blocked, leased, dead, ended and kept, all with a record,
--          age of the oldest ready task in ms or '', the counters as field, value, … }
-- Cost     O(lanes looked at, at most 64), no more for a longer queue
-- Derives  queue:{Q}:scheduled, retrying, blocked, dead, done, used, turns:<p>  zsets · queue:{Q}:counters, leases,
--          tasks  hashes · queue:{Q}:ready:<p>:<lane>  list · queue:{Q}:returned:<p>:<lane>  zset
-- Shared   clock.lua, names.lua, record.lua
local now, heads = clock_ms(), {}
for _, p in ipairs(redis.call('ZRANGE', names.used, 0, -1)) do
  if #heads >= 64 then break end
  for _, lane in ipairs(redis.call('ZRANGE', names['turns:' .. p], 0, 63 - #heads)) do
    local item = redis.call('LINDEX', names['ready:' .. p .. ':' .. lane], 0)
    if item then heads[#heads + 1] = item:match(':(.*)') or item end
    local back = redis.call('ZRANGE', names['returned:' .. p .. ':' .. lane], 0, 0)[1]
    if back then heads[#heads + 1] = plain(back) end
  end
end
local oldest
for _, record in ipairs(#heads > 0 and redis.call('HMGET', names.tasks, unpack(heads)) or {}) do
  local created = record and struct.unpack('<I6', record, 10)
  if created and (not oldest or created < oldest) then oldest = created end
end
return { redis.call('ZCARD', names.scheduled), redis.call('ZCARD', names.retrying), redis.call('ZCARD', names.blocked),
  redis.call('HLEN', names.leases), redis.call('ZCARD', names.dead), redis.call('ZCARD', names.done),
  redis.call('HLEN', names.tasks), oldest and plain(now - oldest) or '', redis.call('HGETALL', names.counters) }
