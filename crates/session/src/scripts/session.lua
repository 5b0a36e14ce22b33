-- session.lua: shared by every script of a session.
--
-- A value is a head that scripts judge and change, then what only its user's process can open: B version, I4 revision,
-- I6 created, I6 idle (how long), I6 expires, I6 ends (all in ms), then the seal.
local HEAD, HEAD_BYTES, MARGIN_MS = '<BI4I6I6I6I6', 29, 1000

local function head(value)
  local s = {}
  s.version, s.revision, s.created, s.idle, s.expires, s.ends = struct.unpack(HEAD, value)
  if s.version ~= 1 then error('ERR a session of an unknown version') end
  return s
end

local function packed(s)
  return struct.pack(HEAD, 1, s.revision, s.created, s.idle, s.expires, s.ends)
end

-- A session counts while it is there, is not over, and its user's index lists it; what does not count goes at once.
local function live(key, index, member, now)
  local value = redis.call('GET', key)
  if not value then return nil end
  local s = head(value)
  if s.expires <= now or s.ends <= now or not redis.call('ZSCORE', index, member) then
    redis.call('DEL', key)
    redis.call('ZREM', index, member)
    return nil
  end
  return s, value
end

-- Lists a session; the index lives as long as the last of its members.
local function list(index, member, expires, now)
  local left = string.format('%.0f', expires - now + MARGIN_MS)
  redis.call('ZADD', index, string.format('%.0f', expires), member)
  if redis.call('PTTL', index) < tonumber(left) then redis.call('PEXPIRE', index, left) end
  return left
end
