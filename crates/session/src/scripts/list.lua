#!lua flags=no-writes
-- list.lua: the sessions of a user that count.
-- Shared: clock.lua session.lua
-- KEYS[1]  session:{T}:index  zset  H -> expires, ms
-- KEYS[2]  session:{T}        none  what the sessions are derived from
-- Derives  session:{T}:<H>  string  the sessions
-- ARGV     [1] now_ms or ''
-- Returns  {H, head, H, head, …}, the one that expires last first
-- Cost     O(sessions of the user)
local now, base, found = clock_ms(), KEYS[2], {}
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1, 'REV')) do
  local text = redis.call('GETRANGE', base .. ':' .. member, 0, HEAD_BYTES - 1)
  if #text == HEAD_BYTES then
    local s = head(text)
    if s.expires > now and s.ends > now then
      found[#found + 1] = member
      found[#found + 1] = text
    end
  end
end
return found
