-- finish.lua: shared by the scripts that end an operation. The state after an end is `Ending::state` of life.rs.

local AFTER = { completed = 'completed', failed = 'failed', cancelled = 'cancelled', overdue = 'failed' }
-- What the end of the operation means for its running steps; those that never ran stay as they are.
local STEP_AFTER = { completed = 'completed', failed = 'failed', cancelled = 'skipped', overdue = 'failed' }

-- Ends a live operation; `held` is its epoch, seq, bytes, share, done, weight and step names.
local function finish(state_key, log, held, ending, now, message, data, retention_ms)
  local seq, share, done, weight = tonumber(held[2]), tonumber(held[4]), tonumber(held[5]), tonumber(held[6])
  local state, fields, events = AFTER[ending], {}, {}
  local names = {}
  for name in held[7]:gmatch('%S+') do names[#names + 1] = 'step:' .. name end
  local steps = #names > 0 and redis.call('HMGET', state_key, unpack(names)) or {}
  for i, packed in ipairs(steps) do
    local step = unpack_step(packed)
    if step.state == 'running' then
      local before = step.share
      change_step(step, STEP_AFTER[ending], now)
      if ending == 'cancelled' then step.share = before end
      done = done + step.weight * (step.share - before)
      share = math.max(share, math.floor(done / weight))
      fields[#fields + 1], fields[#fields + 2] = names[i], pack_step(step)
      events[#events + 1] = event_text(now, 'step', 'running', share, names[i]:sub(6), step, '', '')
    end
  end
  if ending == 'completed' then share = WHOLE end
  events[#events + 1] = event_text(now, state, state, share, '', nil, message, data)
  local last, bytes = append(log, held[1], seq, tonumber(held[3]), events)
  if message ~= '' then fields[#fields + 1], fields[#fields + 2] = 'message', message end
  if data ~= '' then fields[#fields + 1], fields[#fields + 2] = 'data', data end
  redis.call('HSET', state_key, 'seq', last, 'bytes', bytes, 'state', state, 'share', share, 'done', done,
    'updated', now, 'ended', now, unpack(fields))
  -- Together: a log without its state, or a state without its log, would answer wrongly.
  redis.call('PEXPIRE', state_key, retention_ms)
  redis.call('PEXPIRE', log, retention_ms)
  return { 'ok', held[1], string.format('%.0f', last), state, string.format('%.0f', share) }
end
