#!lua flags=no-writes
-- list.lua: one page of a project's live entries, in the order in which they end.
-- Shared: clock.lua entry.lua
-- KEYS[1]  names:{P}    zset  name -> stamp + TTL, us; '' -> minus the stamp at which the index began
-- KEYS[2]  gen:{P}      hash  p, t:<tag> -> stamp of the last invalidation, decimal
-- KEYS[3]  project:{P}  none  never exists: what the entries' keys derive from
-- Derives  project:{P}:<name>  string  packed entry
-- ARGV     [1] now_ms or ''  [2] score after which to go on, or ''  [3] names to look at
-- Returns  { 'complete' | 'partial', now_ms, score to go on after or '', then per live entry: name, its head }
-- Cost     O(log names + page), at most 3 commands a name and 5 more, one slot
local names, gen, project = KEYS[1], KEYS[2], KEYS[3]
local now, limit = clock_ms(), tonumber(ARGV[3])
local from = math.max(tonumber(ARGV[2]) or 0, now * 1000)
local page = redis.call('ZRANGEBYSCORE', names, string.format('(%.0f', from), '+inf', 'WITHSCORES', 'LIMIT', 0, limit)
local listed, last = {}, ''
for i = 1, #page, 2 do listed[#listed + 1] = page[i] end
if #listed == limit then
  last = page[#page]
  -- Names may share a score: the page takes all of them, so that the next one begins after them.
  local shared, have = redis.call('ZRANGEBYSCORE', names, last, last), 0
  for i = 2, #page, 2 do if page[i] == last then have = have + 1 end end
  for i = have + 1, #shared do listed[#listed + 1] = shared[i] end
end

local began, p = redis.call('ZSCORE', names, ''), redis.call('HGET', gen, 'p')
local complete = not p or (began and -tonumber(began) <= tonumber(p))
local answer = { complete and 'complete' or 'partial', string.format('%.0f', now), last }
for _, name in ipairs(listed) do
  -- The name may outlive its entry: evicted, or invalidated with its tag. Only what is there is shown.
  local word, head = judge(project .. ':' .. name, gen, now)
  if word == 'live' then
    answer[#answer + 1] = name
    answer[#answer + 1] = head
  end
end
return answer
