#!lua flags=allow-oom
-- reset.lua: forget what was counted for one scope.
-- KEYS[1]  rl:{S}:<policy>        string  runs of admissions, see runs.lua
-- KEYS[2]  rl:{S}:<policy>:reset  string  empty; there while a charge from before it may still be given back
-- ARGV     [1] now_ms or ''
-- Returns  1 when something was counted, else 0
-- Cost     O(1)

-- Longer than refund.lua takes a charge back.
redis.call('SET', KEYS[2], '', 'PX', 11000)
return redis.call('DEL', KEYS[1])
