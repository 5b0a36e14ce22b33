#!lua flags=allow-oom
-- delete.lua: remove entries under the project's next stamp. May run on a full Redis: it frees more than it writes.
-- Shared: clock.lua entry.lua project.lua
-- KEYS[1]   seq:{P}             string  last stamp of the project, decimal
-- KEYS[2]   gen:{P}             hash    p, t:<tag> -> stamp of the last invalidation, decimal
-- KEYS[3]   names:{P}           zset    name -> stamp + TTL, us; '' -> minus the stamp at which the index began
-- KEYS[4..] project:{P}:<name>  string  packed entry, one key per name
-- ARGV     [1] now_ms or ''
--          [2] If-Match  [3] If-None-Match: '' none | '*' any | '=' and 16 bytes per entity tag
--          [4..] the names, in the order of the keys
-- Returns  { 'deleted', stamp, number of entries that were live } or { 'refused' }
-- Cost     O(names * log all names), at most 5 commands each and 16 more, one slot
local seq, gen, names, now, live = KEYS[1], KEYS[2], KEYS[3], clock_ms(), 0
for i = 4, #KEYS do
  local word, head = judge(KEYS[i], gen, now)
  if not admits(ARGV[2], ARGV[3], word, head) then return { 'refused' } end
  if word == 'live' then live = live + 1 end
end

local stamp = advance(seq, gen, names, 0)
for i = 4, #KEYS do
  redis.call('UNLINK', KEYS[i])
  redis.call('ZREM', names, ARGV[i])
end
return { 'deleted', stamp, live }
