#!lua flags=allow-oom
-- rotate.lua: the same session under another token; the old one is gone in the same moment.
-- Shared: clock.lua session.lua
-- KEYS[1]  session:{T}:<H>    string  the session under its old token
-- KEYS[2]  session:{T}:index  zset    H -> expires, ms
-- KEYS[3]  session:{T}:<H2>   string  and under its new one
-- ARGV     [1] now_ms or ''  [2] H  [3] revision  [4] H2  [5] the seal for H2
-- Returns  {'written', head} | {'gone'} | {'conflict', revision}
-- Cost     O(log sessions + size)
local now = clock_ms()
local s = live(KEYS[1], KEYS[2], ARGV[2], now)
if not s then return { 'gone' } end
if s.revision ~= tonumber(ARGV[3]) then return { 'conflict', s.revision } end
s.revision = s.revision + 1
local text = packed(s)
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[2])
redis.call('SET', KEYS[3], text .. ARGV[5], 'PX', list(KEYS[2], ARGV[4], s.expires, now))
return { 'written', text }
