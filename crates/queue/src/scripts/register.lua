#!lua
-- register.lua: note a queue before its first task, so that no queue exists that nobody knows.
-- KEYS[1]  sluice:queues  hash  queue -> when it was first used, ms
-- ARGV     [2] queue  [3] how many there may be
-- Returns  'ok' | 'full'
-- Cost     O(1)
-- Shared   clock.lua
if redis.call('HEXISTS', KEYS[1], ARGV[2]) == 1 then return 'ok' end
if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[3]) then return 'full' end
redis.call('HSET', KEYS[1], ARGV[2], string.format('%.0f', clock_ms()))
return 'ok'
