#!lua flags=allow-oom
-- extend.lua: move the end of leases. May run on a full Redis: it protects work that is done.
-- KEYS[1]  queue:{Q}   prefix of every key below; itself never a key
-- ARGV     per item: [1] number  [2] token  [3] length from now on, ms
-- Returns  per item: new end of the lease, ms | 'stale' | 'gone'
-- Cost     O(items log leased), two commands for any number of items, one more for each that is not held
-- Derives  queue:{Q}:leases  hash  number -> token:worker · queue:{Q}:deadlines  zset  number by end of its lease
--          queue:{Q}:tasks  hash · queue:{Q}:outcomes  hash
-- Shared   clock.lua, names.lua
local now, numbers, answers, moved = clock_ms(), {}, {}, {}
for at = 2, #ARGV, 3 do numbers[#numbers + 1] = ARGV[at] end
local holders = redis.call('HMGET', names.leases, unpack(numbers))
for i, number in ipairs(numbers) do
  local token, lease_ms, holder = ARGV[3 * i], tonumber(ARGV[3 * i + 1]), holders[i]
  if holder and holder:sub(1, #token + 1) == token .. ':' then
    answers[i] = string.format('%.0f', now + lease_ms)
    moved[#moved + 1], moved[#moved + 2] = answers[i], number
  else
    local known = redis.call('HEXISTS', names.tasks, number) + redis.call('HEXISTS', names.outcomes, number)
    answers[i] = known > 0 and 'stale' or 'gone'
  end
end
if #moved > 0 then redis.call('ZADD', names.deadlines, unpack(moved)) end
return answers
