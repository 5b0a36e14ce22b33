#!lua flags=allow-oom
-- invalidate.lua: make a whole project, or all entries with one of the tags, a miss. Never refused: it protects readers.
-- Shared: clock.lua project.lua
-- KEYS[1]  seq:{P}    string  last stamp of the project, decimal
-- KEYS[2]  gen:{P}    hash    p, t:<tag> -> stamp of the last invalidation, decimal
-- KEYS[3]  names:{P}  zset    name -> stamp + TTL, us; '' -> minus the stamp at which the index began
-- ARGV     [1] now_ms or ''  [2] most tags to remember  [3..] tags; none is the whole project
-- Returns  { 'project' | 'tags', stamp }
-- Cost     O(tags) whatever the number of entries, at most 31 commands and one a tag, one slot
local seq, gen, names = KEYS[1], KEYS[2], KEYS[3]
if #ARGV >= 3 then
  local stamp = advance(seq, gen, names, 0)
  for i = 3, #ARGV do redis.call('HSET', gen, 't:' .. ARGV[i], stamp) end
  if redis.call('HLEN', gen) - 1 <= tonumber(ARGV[2]) then return { 'tags', stamp } end
end
return { 'project', advance(seq, gen, names, 0, true) }
