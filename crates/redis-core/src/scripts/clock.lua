-- clock.lua: shared by every script. One clock: Redis's own, unless the caller turned one by hand (ARGV[1]).
local function clock_us()
  if ARGV[1] ~= '' then return tonumber(ARGV[1]) * 1000 end
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000000 + tonumber(t[2])
end

local function clock_ms() return math.floor(clock_us() / 1000) end

-- The stamp after `last` (text or false): later than it and never given twice. Text, since `..` rounds a double.
local function next_stamp(last)
  return string.format('%.0f', math.max((tonumber(last or 0) or 0) + 1, clock_us()))
end
