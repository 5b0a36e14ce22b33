#!lua flags=no-writes
-- list.lua: a page of the tasks of one state, oldest first.
-- KEYS[1]  queue:{Q}   prefix of every key below; itself never a key
-- ARGV     [2] scheduled | retrying | leased | dead | done  [3] score and [4] member that end the last page, or ''
--          [5] how many, at most 100
-- Returns  per task: member, score
-- Cost     O(log n + page), two commands
-- Derives  queue:{Q}:scheduled, retrying, deadlines, dead, done  zsets
-- Shared   names.lua
local zset = names[ARGV[2] == 'leased' and 'deadlines' or ARGV[2]]
local from = 0
if ARGV[4] ~= '' then
  local rank = redis.call('ZRANK', zset, ARGV[4])
  -- The last of the page before may be gone meanwhile: go on where it stood, by its score.
  from = rank and rank + 1 or redis.call('ZCOUNT', zset, '-inf', '(' .. ARGV[3])
end
return redis.call('ZRANGE', zset, from, from + ARGV[5] - 1, 'WITHSCORES')
