#!lua flags=allow-oom
-- cancel.lua: take a task back. A waiting one ends at once; a leased one's token is void, and its worker is told.
-- KEYS[1]  queue:{Q}   prefix of every key below; itself never a key
-- ARGV     [2] number  [3] salt, 4 bytes  [4] ms to keep the outcome
-- Returns  'cancelled', also for a repeat | 'finished' | 'gone'
-- Cost     O(log waiting), some ten commands, one slot
-- Derives  as settle.lua
-- Shared   clock.lua, names.lua, record.lua, ending.lua
local number, salt = ARGV[2], ARGV[3]
local record = redis.call('HGET', names.tasks, number)
if record then
  if record:sub(6, 9) ~= salt then return 'gone' end
  if record:sub(2, 2) == 'd' then return 'finished' end
  cancel(number, record, 'cancelled', tonumber(ARGV[4]), clock_ms())
  write_totals()
  tell()
  return 'cancelled'
end
local kept = redis.call('HGET', names.outcomes, number)
if not kept then return 'gone' end
local from = 9 + kept:byte(8)
if kept:sub(from + 5, from + 8) ~= salt then return 'gone' end
return kept:sub(from + 1, from + 1) == 'x' and 'cancelled' or 'finished'
