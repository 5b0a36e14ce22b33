-- log.lua: shared by the scripts that write events. Event s of an operation lies at index s - first of its log, where
-- first = seq - length + 1. An event is one text, fields parted by tabs, as `Event::parse` of event.rs reads it:
-- 1 at_ms kind child state share step step_state step_share current total message data

local MAX_EVENTS, MAX_BYTES, MAX_MESSAGE = 1000, 262144, 65536

local function event_text(now, kind, state, share, name, step, message, data)
  return table.concat({ '1', now, kind, '', state, string.format('%.0f', share), name,
    step and step.state or '', step and string.format('%.0f', step.share) or '',
    step and step.current or '', step and step.total or '', message, data }, '\t')
end

-- Appends, trims to the bounds (the last event always stays) and tells whoever listens to the log's name.
-- Answers the new sequence and the bytes of the log.
local function append(log, epoch, seq, bytes, events)
  local length = redis.call('RPUSH', log, unpack(events))
  for _, text in ipairs(events) do bytes = bytes + #text end
  while length > 1 and (length > MAX_EVENTS or bytes > MAX_BYTES) do
    bytes = bytes - #redis.call('LPOP', log)
    length = length - 1
  end
  local last = seq + #events
  local message = string.format('1\t%s\t%.0f\t%.0f', epoch, seq + 1, last)
  local frames = table.concat(events, '\n')
  if #frames <= MAX_MESSAGE then message = message .. '\n' .. frames end
  redis.call('SPUBLISH', log, message)
  return last, bytes
end
