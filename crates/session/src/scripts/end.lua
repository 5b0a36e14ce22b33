#!lua flags=allow-oom
-- end.lua: log out one session. Never refused: it protects.
-- Shared: clock.lua session.lua
-- KEYS[1]  session:{T}:<H>    string  the session
-- KEYS[2]  session:{T}:index  zset    H -> expires, ms
-- ARGV     [1] now_ms or ''  [2] H
-- Returns  'ended' | 'gone': it did not count any more
-- Cost     O(log sessions)
local s = live(KEYS[1], KEYS[2], ARGV[2], clock_ms())
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[2])
return s and 'ended' or 'gone'
