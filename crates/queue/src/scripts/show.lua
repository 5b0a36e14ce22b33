#!lua
-- show.lua: mark leased tasks as ones whose life is shown, and answer with them.
-- KEYS[1]  queue:{Q}   prefix of every key below; itself never a key
-- ARGV     per item: [1] number  [2] token
-- Returns  per item: header of the record | 'stale' | 'gone'
-- Cost     O(items), two commands for any number of items, one more for each that is not held or marked first
-- Derives  queue:{Q}:leases  hash  number -> token:worker · queue:{Q}:tasks, outcomes  hashes
-- Shared   names.lua, record.lua
local numbers, answers = {}, {}
for at = 2, #ARGV, 2 do numbers[#numbers + 1] = ARGV[at] end
local holders = redis.call('HMGET', names.leases, unpack(numbers))
local records = redis.call('HMGET', names.tasks, unpack(numbers))
for i, number in ipairs(numbers) do
  local token, holder, record = ARGV[2 * i + 1], holders[i], records[i]
  if not record then
    answers[i] = redis.call('HEXISTS', names.outcomes, number) == 1 and 'stale' or 'gone'
  elseif not holder or holder:sub(1, #token + 1) ~= token .. ':' then
    answers[i] = 'stale'
  else
    if bit.band(flags_of(record), PROGRESS) == 0 then
      record = record:sub(1, 2) .. string.char(record:byte(3) + PROGRESS) .. record:sub(4)
      redis.call('HSET', names.tasks, number, record)
    end
    answers[i] = header(record)
  end
end
return answers
