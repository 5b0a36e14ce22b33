#!lua flags=allow-oom
-- delete.lua: forget one operation, and tell those who watch it. May run on a full Redis: it frees.
-- KEYS[1]  progress:{R}:state  hash  field -> value, as record.rs reads it
-- KEYS[2]  progress:{R}:log    list  event s at index s - first; its name is the sharded channel too
-- ARGV     [1] the clock, not used here
-- Returns  'ok' | 'missing'
-- Cost     O(log), 3 commands, one slot
local epoch = redis.call('HGET', KEYS[1], 'epoch')
redis.call('DEL', KEYS[1], KEYS[2])
if not epoch then return 'missing' end
-- Without events: it only makes the nodes look.
redis.call('SPUBLISH', KEYS[2], '1\t' .. epoch .. '\t0\t0')
return 'ok'
