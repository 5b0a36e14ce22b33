#!lua
-- append.lua: append hops, each to its correlation. Refused on a full Redis: a trail can be missed.
-- KEYS[1]  correlation:{C}  list  hops, the oldest first: a version byte, then JSON; one for each item, or one for all
-- ARGV     item after item: [1] the hop [2] hops kept of a correlation [3] its life, ms
-- Returns  an item each: 'ok'
-- Cost     O(1) and 3 commands an item, one slot on a cluster
local answers = {}
for item = 1, (#ARGV - 1) / 3 do
  local key, at = KEYS[item] or KEYS[1], item * 3 - 1
  redis.call('RPUSH', key, ARGV[at])
  redis.call('LTRIM', key, -tonumber(ARGV[at + 1]), -1)
  redis.call('PEXPIRE', key, ARGV[at + 2])
  answers[item] = 'ok'
end
return answers
