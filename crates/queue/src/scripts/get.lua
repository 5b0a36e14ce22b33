#!lua flags=no-writes
-- get.lua: where tasks are.
-- KEYS[1]  queue:{Q}   prefix of every key below; itself never a key
-- ARGV     per item: [1] number  [2] 'head' | 'task' with its payload | 'result' with its result
-- Returns  per item: nil, or { 'task', record, due or end of the lease, ms, or '', holder or '' }
--          or { 'outcome', outcome, result or '' }
-- Cost     O(items), three commands for any number of items, one more for each that is leased, due or asked a result
-- Derives  queue:{Q}:tasks, leases, outcomes, results  hashes · queue:{Q}:deadlines, scheduled, retrying  zsets
-- Shared   names.lua, record.lua
local numbers, answers = {}, {}
for at = 2, #ARGV, 2 do numbers[#numbers + 1] = ARGV[at] end
local records = redis.call('HMGET', names.tasks, unpack(numbers))
local holders = redis.call('HMGET', names.leases, unpack(numbers))
local outcomes = redis.call('HMGET', names.outcomes, unpack(numbers))
for i, number in ipairs(numbers) do
  local record, what = records[i], ARGV[2 * i + 1]
  if record then
    local letter, at = record:sub(2, 2), ''
    if holders[i] then at = redis.call('ZSCORE', names.deadlines, number)
    elseif letter == 's' then at = redis.call('ZSCORE', names.scheduled, wide(number))
    elseif letter == 't' then at = redis.call('ZSCORE', names.retrying, wide(number)) end
    answers[i] = { 'task', what == 'task' and record or header(record), at or '', holders[i] or '' }
  elseif outcomes[i] then
    local result = what == 'result' and redis.call('HGET', names.results, number)
    answers[i] = { 'outcome', outcomes[i], result or '' }
  else
    answers[i] = false
  end
end
return answers
