#!lua
-- create.lua: make a session. The only script that makes one; each other demands that it is there.
-- Shared: clock.lua session.lua
-- KEYS[1]  session:{T}:<H>    string  the session
-- KEYS[2]  session:{T}:index  zset    H -> expires, ms
-- KEYS[3]  session:{T}        none    what other sessions of the user are derived from
-- Derives  session:{T}:<H>  string  sessions that go: over, or too many
-- ARGV     [1] now_ms or ''  [2] H  [3] idle_ms  [4] longest life, ms  [5] ends, ms  [6] most sessions  [7] the seal
-- Returns  {'made', head} | {'clock', now_ms}: `ends` is not the longest life from now
-- Cost     O(log sessions) a session that goes, at most 64 of those that are over
local now, ends = clock_ms(), tonumber(ARGV[5])
if math.abs(ends - now - tonumber(ARGV[4])) > 1000 then return { 'clock', string.format('%.0f', now) } end

local base = KEYS[3]
for _, over in ipairs(redis.call('ZRANGE', KEYS[2], '-inf', string.format('%.0f', now), 'BYSCORE', 'LIMIT', 0, 64)) do
  redis.call('ZREM', KEYS[2], over)
  redis.call('DEL', base .. ':' .. over)
end
while redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[6]) do
  redis.call('DEL', base .. ':' .. redis.call('ZPOPMIN', KEYS[2])[1])
end

local s = { revision = 1, created = now, idle = tonumber(ARGV[3]), ends = ends }
s.expires = math.min(now + s.idle, ends)
local text = packed(s)
redis.call('SET', KEYS[1], text .. ARGV[7], 'PX', list(KEYS[2], ARGV[2], s.expires, now))
return { 'made', text }
