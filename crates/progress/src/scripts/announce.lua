#!lua flags=allow-oom
-- announce.lua: fence an operation with the token of a new lease. May run on a full Redis: it keeps zombies silent.
-- What ran under the lease before begins again: its running steps go back to pending.
-- Shared: clock.lua steps.lua log.lua
-- KEYS[1]  progress:{R}:state  hash  field -> value, as record.rs reads it
-- KEYS[2]  progress:{R}:log    list  event s at index s - first; its name is the sharded channel too
-- ARGV     [2] fencing token, decimal  [3] running_ms
-- Returns  {'ok', epoch, seq, state, share} | {'missing'} (also when it has ended) | {'stale'}
-- Cost     O(steps), at most 7 commands, one slot
local state_key, log, token, running_ms = KEYS[1], KEYS[2], ARGV[2], ARGV[3]
local held = redis.call('HMGET', state_key, 'epoch', 'seq', 'bytes', 'share', 'done', 'weight', 'steps', 'state',
  'token', 'started')
if not held[1] then return { 'missing' } end
local before, state = tonumber(held[9]) or 0, held[8]
if tonumber(token) < before then return { 'stale' } end
if tonumber(token) == before then return { 'ok', held[1], held[2], state, held[4] } end -- a repeat
if state ~= 'pending' and state ~= 'running' then return { 'missing' } end
local now = string.format('%.0f', clock_ms())
local share, done, names, fields, events = tonumber(held[4]), tonumber(held[5]), {}, {}, {}
for name in held[7]:gmatch('%S+') do names[#names + 1] = 'step:' .. name end
local steps = #names > 0 and redis.call('HMGET', state_key, unpack(names)) or {}
for i, packed in ipairs(steps) do
  local step = unpack_step(packed)
  if step.state == 'running' then
    done = done - step.weight * step.share
    share = math.floor(done / tonumber(held[6]))
    change_step(step, 'reset', now)
    fields[#fields + 1], fields[#fields + 2] = names[i], pack_step(step)
    events[#events + 1] = event_text(now, 'step', 'running', share, names[i]:sub(6), step, '', '')
  end
end
events[#events + 1] = event_text(now, 'progress', 'running', share, '', nil, '', '')
local last, bytes = append(log, held[1], tonumber(held[2]), tonumber(held[3]), events)
redis.call('HSET', state_key, 'seq', last, 'bytes', bytes, 'token', token, 'state', 'running', 'share', share,
  'done', done, 'updated', now, 'started', held[10] == '-' and now or held[10],
  'deadline', string.format('%.0f', tonumber(now) + tonumber(running_ms)), unpack(fields))
return { 'ok', held[1], string.format('%.0f', last), 'running', string.format('%.0f', share) }
