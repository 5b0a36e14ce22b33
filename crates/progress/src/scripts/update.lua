#!lua
-- update.lua: report to one operation; each item is all or nothing, and the items do not know each other.
-- Shared: clock.lua steps.lua log.lua
-- KEYS[1]  progress:{R}:state  hash  field -> value, as record.rs reads it
-- KEYS[2]  progress:{R}:log    list  event s at index s - first; its name is the sharded channel too
-- ARGV     item after item: [1] fencing token, decimal, or ''  [2] running_ms
--          [3] reports, a line each, parted by tabs: step change weight share current total message data ('' = none)
-- Returns  an item each: {'ok', epoch, seq, state, share} | {'missing'} | {'stale'} | {'newer'} | {'finished', state}
--          | {'illegal', report, state of the step} | {'unknown', report} | {'crowded', report} | {'steps', report}
-- Cost     O(reports), at most 4 commands + 1 a step touched + 1 an event trimmed, one slot
local state_key, log = KEYS[1], KEYS[2]
local MAX_STEPS, WIDTH, REPORT = 100, 3, '^' .. ('([^\t]*)\t'):rep(7) .. '([^\t]*)$'
local answers, events, steps, dirty = {}, {}, {}, {}
local now = string.format('%.0f', clock_ms())
local held = redis.call('HMGET', state_key, 'epoch', 'seq', 'bytes', 'token', 'state', 'share', 'done', 'weight',
  'steps', 'open', 'started', 'current', 'total')
local operation = { seq = tonumber(held[2]), state = held[5], share = tonumber(held[6]), done = tonumber(held[7]),
  weight = tonumber(held[8]), steps = held[9], started = held[11], current = held[12] or '-', total = held[13] or '-' }
local before = operation.seq

-- `steps` holds packed texts, a draft its own tables: a refused item leaves nothing behind.
local function step_of(name, draft_steps)
  if draft_steps[name] == nil then
    local packed = steps[name] or redis.call('HGET', state_key, 'step:' .. name)
    draft_steps[name] = packed and unpack_step(packed)
  end
  return draft_steps[name]
end

local function add_step(draft, draft_steps, name, weight)
  local _, spaces = draft.steps:gsub(' ', '')
  local count = draft.steps == '' and 0 or spaces + 1
  if count >= MAX_STEPS then return nil end
  local step = { index = string.format('%d', count + 1), state = 'pending', share = 0, weight = tonumber(weight) or 1,
    current = '-', total = '-', started = '-', ended = '-' }
  draft.steps = count == 0 and name or (draft.steps .. ' ' .. name)
  draft.weight = draft.weight + step.weight
  draft_steps[name] = step
  return step
end

-- One report on the drafts; answers its event, or what refuses it.
local function report(draft, draft_steps, at, line)
  local name, change, weight, share, current, total, message, data = line:match(REPORT)
  local kind, step = 'message', nil
  if draft.state == 'pending' then draft.state, draft.started = 'running', now end
  if name ~= '' then
    step = step_of(name, draft_steps)
    local added = not step
    if added then
      if held[10] ~= '1' then return nil, { 'unknown', at } end
      step = add_step(draft, draft_steps, name, weight)
      if not step then return nil, { 'crowded', at } end
      kind = 'step'
    end
    if change ~= '' then
      local was, share_before = step.state, step.share
      local moved, again = change_step(step, change, now)
      if not moved then return nil, { 'illegal', at, was } end
      measure(step, share, current, total)
      draft.done = draft.done + step.weight * (step.share - share_before)
      local rolled = math.floor(draft.done / draft.weight)
      draft.share = again and rolled or math.max(draft.share, rolled)
      if added or again or step.state ~= was then kind = 'step' else kind = 'progress' end
    end
  elseif change ~= '' then
    if draft.steps ~= '' then return nil, { 'steps', at } end
    measure(draft, share, current, total)
    kind = 'progress'
  end
  if message ~= '' then draft.message = message end
  if data ~= '' then draft.data = data end
  return event_text(now, kind, draft.state, draft.share, name, step, message, data)
end

local function item(token, running_ms, lines)
  if not held[1] then return { 'missing' } end
  -- With a token only the latest lease speaks; a later one that was not announced yet has to be, first.
  if held[4] ~= token then
    return { token ~= '' and tonumber(token) > (tonumber(held[4]) or 0) and 'newer' or 'stale' }
  end
  if operation.state ~= 'pending' and operation.state ~= 'running' then return { 'finished', operation.state } end
  local draft, draft_steps, texts = setmetatable({}, { __index = operation }), {}, {}
  for line in lines:gmatch('[^\n]+') do
    local text, refused = report(draft, draft_steps, string.format('%d', #texts), line)
    if refused then return refused end
    texts[#texts + 1] = text
  end
  for _, text in ipairs(texts) do events[#events + 1] = text end
  for field, value in pairs(draft) do operation[field], dirty[field] = value, true end
  for name, step in pairs(draft_steps) do steps[name] = pack_step(step) end
  operation.deadline, dirty.deadline = string.format('%.0f', tonumber(now) + tonumber(running_ms)), true
  return { 'ok', held[1], string.format('%.0f', before + #events), operation.state,
    string.format('%.0f', operation.share) }
end

for i = 2, #ARGV, WIDTH do answers[#answers + 1] = item(ARGV[i], ARGV[i + 1], ARGV[i + 2]) end
if #events > 0 then
  local fields = { 'updated', now }
  for field in pairs(dirty) do
    local value = operation[field]
    fields[#fields + 1] = field
    fields[#fields + 1] = type(value) == 'number' and string.format('%.0f', value) or value
  end
  for name, packed in pairs(steps) do
    fields[#fields + 1], fields[#fields + 2] = 'step:' .. name, packed
  end
  local last, bytes = append(log, held[1], before, tonumber(held[3]), events)
  redis.call('HSET', state_key, 'seq', last, 'bytes', bytes, unpack(fields))
end
return answers
