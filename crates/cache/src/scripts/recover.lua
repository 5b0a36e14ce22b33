#!lua flags=allow-oom
-- recover.lua: catch up with an authentic stamp that this Redis has lost: the write under it, and perhaps
-- others, are gone, so that everything is a miss from here on. Never refused: it protects readers.
-- Shared: clock.lua project.lua
-- KEYS[1]  seq:{P}    string  last stamp of the project, decimal
-- KEYS[2]  gen:{P}    hash    p, t:<tag> -> stamp of the last invalidation, decimal
-- KEYS[3]  names:{P}  zset    name -> stamp + TTL, us; '' -> minus the stamp at which the index began
-- ARGV     [1] now_ms or ''  [2] the authentic stamp, decimal
-- Returns  { 'recovered' | 'ahead', last stamp }
-- Cost     O(1), at most 17 commands, one slot
local seq, gen, names = KEYS[1], KEYS[2], KEYS[3]
local last = redis.call('GET', seq)
-- Another reader was here first, or a write came in between.
if last and tonumber(last) >= tonumber(ARGV[2]) then return { 'ahead', last } end

redis.call('SET', seq, ARGV[2])
return { 'recovered', advance(seq, gen, names, 0, true) }
