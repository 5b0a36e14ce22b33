#!lua flags=allow-oom
-- end_all.lua: log out a user everywhere. Never refused: it protects.
-- KEYS[1]  session:{T}:index  zset  H -> expires, ms
-- KEYS[2]  session:{T}        none  what the sessions are derived from
-- Derives  session:{T}:<H>  string  the sessions
-- ARGV     [1] now_ms or ''
-- Returns  how many there were
-- Cost     O(sessions of the user)
local base, ended = KEYS[2], 0
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  ended = ended + redis.call('DEL', base .. ':' .. member)
end
redis.call('DEL', KEYS[1])
return ended
