-- runs.lua: shared by what reads or writes a limiter's value.
--
-- A value is '\1' (its version), then a section for each window: I6 its length in ms, I4 units in all its runs, the open
-- run (I6 first ms, I6 last ms, I4 units), B how many closed runs, and those, oldest first (I6 last ms, I4 units each).
local SECTION, RUN, RUN_BYTES = '<I6I4I6I6I4B', '<I6I4', 10

-- A window as a table; `from` and `to` are where its closed runs lie in the value, 1-based, both included. Every field that it
-- will ever have is there from the start: a table that grows is hashed anew at each doubling.
local function section(value, at)
  local length, total, first, last, units, closed, from = struct.unpack(SECTION, value, at)
  return { length = length, total = total, first = first, last = last, units = units, closed = closed, from = from,
    to = from + closed * RUN_BYTES - 1, oldest = 0, limit = false, wait = 0 }
end

-- Every window of a value; none when there is no value, or one of another version.
local function sections(value)
  local all, at = {}, 2
  if value and string.byte(value) ~= 1 then error({ err = 'ERR a limiter value of an unknown version' }) end
  while value and at <= #value do
    local w = section(value, at)
    all[#all + 1] = w
    at = w.to + 1
  end
  return all
end

-- The text of a window, with `more` (text) behind its closed runs.
local function packed(w, value, more, added)
  return struct.pack(SECTION, w.length, w.total, w.first, w.last, w.units, w.closed + added)
    .. string.sub(value or '', w.from, w.to) .. more
end
