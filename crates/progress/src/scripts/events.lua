#!lua flags=no-writes
-- events.lua: where an operation stands, and what its log holds after a cursor.
-- KEYS[1]  progress:{R}:state  hash  field -> value, as record.rs reads it
-- KEYS[2]  progress:{R}:log    list  event s at index s - first; its name is the sharded channel too
-- ARGV     [2] the epoch that the reader knows, or ''  [3] its last sequence
-- Returns  {} when there is none, else {epoch, seq, first, state, event, event, …}: the events after the cursor, or the
--          whole log when the epoch is another
-- Cost     O(events answered), 3 commands, one slot
local held = redis.call('HMGET', KEYS[1], 'epoch', 'seq', 'state')
if not held[1] then return {} end
local seq = tonumber(held[2])
local first = seq - redis.call('LLEN', KEYS[2]) + 1
local from = held[1] == ARGV[2] and math.max(0, tonumber(ARGV[3]) + 1 - first) or 0
local answer = { held[1], held[2], string.format('%.0f', first), held[3] }
if from <= seq - first then
  for _, event in ipairs(redis.call('LRANGE', KEYS[2], from, -1)) do answer[#answer + 1] = event end
end
return answer
