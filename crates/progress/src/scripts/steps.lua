-- steps.lua: shared by the scripts that move steps. What may follow what is `Change::on` of life.rs; a test walks both.
-- A step is packed as: index state share weight current total started ended (numbers; '-' = none; share 0..10000).

local STEP = { -- change -> state before -> state after; what is not listed is refused
  reset = { pending = 'pending', running = 'pending', completed = 'pending', failed = 'pending', skipped = 'pending' },
  started = { pending = 'running', running = 'running', completed = 'running', failed = 'running', skipped = 'running' },
  progressed = { pending = 'running', running = 'running' },
  completed = { pending = 'completed', running = 'completed', completed = 'completed' },
  failed = { pending = 'failed', running = 'failed', failed = 'failed' },
  skipped = { pending = 'skipped', running = 'skipped', skipped = 'skipped' },
}
local WHOLE = 10000

local function unpack_step(packed)
  local index, state, share, weight, current, total, started, ended =
    packed:match('^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+)$')
  return { index = index, state = state, share = tonumber(share), weight = tonumber(weight), current = current,
    total = total, started = started, ended = ended }
end

local function pack_step(step)
  return table.concat({ step.index, step.state, string.format('%.0f', step.share), string.format('%.0f', step.weight),
    step.current, step.total, step.started, step.ended }, ' ')
end

-- Takes over what a report measured; the share of what is done never goes back here.
local function measure(thing, share, current, total)
  if total ~= '' then thing.total = total end
  if current ~= '' then
    thing.current = current
    local of = tonumber(thing.total)
    if share == '' and of and of > 0 then share = math.floor(tonumber(current) * WHOLE / of) end
  end
  if share ~= '' then thing.share = math.min(WHOLE, math.max(thing.share, tonumber(share))) end
end

-- Moves a step; false when its state forbids the change. A step that begins again begins at nothing.
local function change_step(step, change, now)
  local after = STEP[change][step.state]
  if not after then return false end
  local again = change == 'reset' or (change == 'started' and step.state ~= 'pending' and step.state ~= 'running')
  if again then step.share, step.current, step.started, step.ended = 0, '-', '-', '-' end
  if after == 'completed' or after == 'skipped' then step.share = WHOLE end
  if after ~= 'pending' and step.started == '-' then step.started = now end
  if (after == 'completed' or after == 'failed' or after == 'skipped') and step.ended == '-' then step.ended = now end
  step.state = after
  return true, again
end
