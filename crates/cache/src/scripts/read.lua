#!lua flags=no-writes
-- read.lua: judge entries, and hand out the bytes of small live ones.
-- Shared: clock.lua entry.lua
-- KEYS[1]   seq:{P}             string  last stamp of the project, decimal
-- KEYS[2]   gen:{P}             hash    p, t:<tag> -> stamp of the last invalidation, decimal
-- KEYS[3..] project:{P}:<name>  string  packed entry, one key per name
-- ARGV     [1] now_ms or ''  [2] largest entry to hand out, bytes  [3] bytes to hand out in all
-- Returns  { now_ms, seq or '', then per name: word of judge(), its head, the whole entry or '' }
-- Cost     O(names), at most 5 commands each and 2 more, one slot; bytes pass through Lua, so keep them few
local now, largest, budget = clock_ms(), tonumber(ARGV[2]), tonumber(ARGV[3])
local answer = { string.format('%.0f', now), redis.call('GET', KEYS[1]) or '' }
for i = 3, #KEYS do
  local word, head = judge(KEYS[i], KEYS[2], now)
  local bytes = ''
  if word == 'live' and largest > 0 then
    local size = redis.call('STRLEN', KEYS[i])
    if size <= largest and size <= budget then
      bytes, budget = redis.call('GET', KEYS[i]), budget - size
    end
  end
  answer[#answer + 1] = word
  answer[#answer + 1] = head
  answer[#answer + 1] = bytes
end
return answer
