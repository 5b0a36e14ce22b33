#!lua flags=allow-oom
-- refund.lua: give a charge back, because a demand of the same request was denied in another slot. Called at most once.
-- Shared: clock.lua runs.lua
-- KEYS[1]  rl:{S}:<policy>        string  runs of admissions, see runs.lua
-- KEYS[2]  rl:{S}:<policy>:reset  string  there when the count was reset a moment ago
-- ARGV     [1] now_ms or '' [2] when it was charged, ms [3] units
-- Returns  how many windows gave it back; one that has forgotten it, or was moved by a clock, keeps it
-- Cost     O(runs), 32 a window
local LATEST_MS = 10000
-- After a reset, the runs are those of other requests. It is remembered for as long as this may come.
if redis.call('EXISTS', KEYS[2]) == 1 or clock_ms() - tonumber(ARGV[2]) > LATEST_MS then return 0 end
local value, at, units, given = redis.call('GET', KEYS[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), 0
local text = '\1'
for _, w in ipairs(sections(value)) do
  -- Older than the last admission's window, its run may be gone; then the oldest that is left is another's.
  local runs, sought, found = {}, at >= w.last - w.length, false
  for from = w.from, w.to, RUN_BYTES do
    local last, count = struct.unpack(RUN, value, from)
    if sought and at <= last then
      sought, found = false, count >= units
      if found then count = count - units end
    end
    runs[#runs + 1] = struct.pack(RUN, last, count)
  end
  if sought and at >= w.first and at <= w.last and w.units >= units then found, w.units = true, w.units - units end
  if found then w.total, given = w.total - units, given + 1 end
  w.closed, w.from, w.to = 0, 1, 0
  text = text .. packed(w, '', table.concat(runs), #runs)
end
if given > 0 then redis.call('SET', KEYS[1], text, 'KEEPTTL') end
return given
