#!lua flags=allow-oom
-- expire.lua: fail an operation whose deadline has passed. May run on a full Redis: what has ended expires.
-- Shared: clock.lua steps.lua log.lua finish.lua
-- KEYS[1]  progress:{R}:state  hash  field -> value, as record.rs reads it
-- KEYS[2]  progress:{R}:log    list  event s at index s - first; its name is the sharded channel too
-- ARGV     [2] message, JSON  [3] retention_ms
-- Returns  {'ok', epoch, seq, state, share} | {'missing'} (also when it has ended) | {'later', deadline_ms}
-- Cost     O(steps), at most 8 commands, one slot
local state_key, log = KEYS[1], KEYS[2]
local held = redis.call('HMGET', state_key, 'epoch', 'seq', 'bytes', 'share', 'done', 'weight', 'steps', 'state',
  'deadline')
local state, now = held[8], clock_ms()
if state ~= 'pending' and state ~= 'running' then return { 'missing' } end
if tonumber(held[9]) > now then return { 'later', held[9] } end
return finish(state_key, log, held, 'overdue', string.format('%.0f', now), ARGV[2], '', ARGV[3])
