#!lua flags=allow-oom
-- end.lua: complete, fail or cancel one operation. May run on a full Redis: what has ended expires.
-- Shared: clock.lua steps.lua log.lua finish.lua
-- KEYS[1]  progress:{R}:state  hash  field -> value, as record.rs reads it
-- KEYS[2]  progress:{R}:log    list  event s at index s - first; its name is the sharded channel too
-- ARGV     [2] fencing token, decimal, or ''  [3] completed, failed or cancelled  [4] message, JSON, or ''
--          [5] data, JSON, or ''  [6] retention_ms
-- Returns  {'ok', epoch, seq, state, share} (also for a repeat) | {'missing'} | {'stale'} | {'finished', state}
-- Cost     O(steps), at most 8 commands, one slot
local state_key, log, token, ending = KEYS[1], KEYS[2], ARGV[2], ARGV[3]
local held = redis.call('HMGET', state_key, 'epoch', 'seq', 'bytes', 'share', 'done', 'weight', 'steps', 'state', 'token')
if not held[1] then return { 'missing' } end
local later = token ~= '' and tonumber(token) > (tonumber(held[9]) or 0)
if held[9] ~= token and not later then return { 'stale' } end
local state = held[8]
if state == AFTER[ending] then return { 'ok', held[1], held[2], state, held[4] } end -- a repeat
if state ~= 'pending' and state ~= 'running' then return { 'finished', state } end
redis.call('HSET', state_key, 'token', token)
return finish(state_key, log, held, ending, string.format('%.0f', clock_ms()), ARGV[4], ARGV[5], ARGV[6])
