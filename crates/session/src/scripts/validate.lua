#!lua flags=allow-oom
-- validate.lua: read a session, and let it live on when less than three quarters of its idle time are left.
-- Shared: clock.lua session.lua
-- KEYS[1]  session:{T}:<H>    string  the session
-- KEYS[2]  session:{T}:index  zset    H -> expires, ms
-- ARGV     [1] now_ms or ''  [2] H
-- Returns  {'read' | 'extended', value} | {'gone'}
-- Cost     O(log sessions); a write at most four times an idle time
local now = clock_ms()
local s, value = live(KEYS[1], KEYS[2], ARGV[2], now)
if not s then return { 'gone' } end
local expires = math.min(now + s.idle, s.ends)
if (s.expires - now) * 4 >= s.idle * 3 or expires <= s.expires then return { 'read', value } end
s.expires = expires
local text = packed(s)
redis.call('SETRANGE', KEYS[1], 0, text)
redis.call('PEXPIRE', KEYS[1], list(KEYS[2], ARGV[2], expires, now))
return { 'extended', text .. string.sub(value, HEAD_BYTES + 1) }
