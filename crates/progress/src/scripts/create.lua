#!lua
-- create.lua: begin an operation. A live one of that id stays; a finished one gives way to a later fencing token only.
-- Shared: clock.lua steps.lua log.lua
-- KEYS[1]  progress:{R}:state  hash  field -> value, as record.rs reads it
-- KEYS[2]  progress:{R}:log    list  event s at index s - first; its name is the sharded channel too
-- ARGV     [2] epoch, random  [3] fencing token, decimal, or ''  [4] running_ms  [5] about, JSON
--          [6] '1' when updates may add steps, else ''  [7] steps, a line each: name weight total ('-' = none)
-- Returns  {'ok', epoch, seq, state, share} | {'exists'}
-- Cost     O(steps), at most 6 commands, one slot
local state_key, log = KEYS[1], KEYS[2]
local epoch, token, running_ms, about, open, lines = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local now = clock_ms()
local held = redis.call('HMGET', state_key, 'state', 'token')
if held[1] then
  local over = held[1] == 'completed' or held[1] == 'failed' or held[1] == 'cancelled'
  local later = token ~= '' and tonumber(token) > (tonumber(held[2]) or 0)
  if not (over and later) then return { 'exists' } end
end
local names, weight, fields = {}, 0, {}
for name, step_weight, total in lines:gmatch('(%S+) (%S+) (%S+)') do
  names[#names + 1] = name
  weight = weight + tonumber(step_weight)
  fields[#fields + 1] = 'step:' .. name
  fields[#fields + 1] = pack_step({ index = #names, state = 'pending', share = 0, weight = tonumber(step_weight),
    current = '-', total = total, started = '-', ended = '-' })
end
local time = string.format('%.0f', now)
-- Also a log whose state was evicted.
redis.call('DEL', state_key, log)
-- A fenced operation begins at work: its worker has just leased the task.
local state, seq, bytes = token == '' and 'pending' or 'running', 0, 0
if token ~= '' then
  seq, bytes = append(log, epoch, 0, 0, { event_text(time, 'progress', state, 0, '', nil, '', '') })
end
redis.call('HSET', state_key, 'version', '1', 'epoch', epoch, 'seq', seq, 'bytes', bytes, 'token', token,
  'state', state, 'share', 0, 'done', 0, 'weight', weight, 'steps', table.concat(names, ' '), 'open', open,
  'about', about, 'created', time, 'updated', time, 'started', token == '' and '-' or time,
  'deadline', string.format('%.0f', now + tonumber(running_ms)), unpack(fields))
return { 'ok', epoch, string.format('%.0f', seq), state, '0' }
