#!lua
-- write.lua: put another seal into a session that is there, at the revision that it was made from.
-- Shared: clock.lua session.lua
-- KEYS[1]  session:{T}:<H>    string  the session
-- KEYS[2]  session:{T}:index  zset    H -> expires, ms
-- ARGV     [1] now_ms or ''  [2] H  [3] revision  [4] 1: the content changed, 0: only its key  [5] the seal
-- Returns  {'written', head} | {'gone'} | {'conflict', revision}
-- Cost     O(size)
local s = live(KEYS[1], KEYS[2], ARGV[2], clock_ms())
if not s then return { 'gone' } end
if s.revision ~= tonumber(ARGV[3]) then return { 'conflict', s.revision } end
s.revision = s.revision + tonumber(ARGV[4])
local text = packed(s)
redis.call('SET', KEYS[1], text .. ARGV[5], 'KEEPTTL')
return { 'written', text }
