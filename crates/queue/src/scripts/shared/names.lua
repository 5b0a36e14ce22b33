-- names.lua: the keys of one queue, each derived from KEYS[1] when it is first used, so that a call pays only for those
-- that it touches. `names.tasks` is queue:{Q}:tasks.
local names = setmetatable({}, { __index = function(made, name)
  local key = KEYS[1] .. ':' .. name
  made[name] = key
  return key
end })

-- Numbers in zsets whose order shows are 16 digits wide, so that equal scores stay in order.
local function wide(number) return string.format('%016.0f', tonumber(number)) end
local function plain(member) return string.format('%.0f', tonumber(member)) end

-- What a call has to tell: who waits for work, and who waits for an end. Told once, at its end.
local told = { ready = 0, due = false, ended = {}, voided = {} }
local function tell()
  if told.ready > 0 then redis.call('SPUBLISH', names.wake, 'ready ' .. told.ready) end
  if told.due then redis.call('SPUBLISH', names.wake, 'due') end
  if #told.voided > 0 then redis.call('SPUBLISH', names.wake, 'void ' .. table.concat(told.voided, ' ')) end
  if #told.ended > 0 then redis.call('SPUBLISH', names.ends, table.concat(told.ended, ' ')) end
end

-- What each costs beside its own bytes: entries of hashes, lists and zsets, and their share of the tables.
local TASK_BYTES, OUTCOME_BYTES, RESULT_BYTES, REPEAT_BYTES = 72, 160, 72, 200

-- Lifetime totals and bytes, added up here and written once.
local totals = {}
local function count(what, by) totals[what] = (totals[what] or 0) + by end
local function write_totals()
  for what, by in pairs(totals) do
    if by ~= 0 then redis.call('HINCRBY', names.counters, what, string.format('%.0f', by)) end
  end
end
