-- project.lua (shared): a project's stamps and marks, made again wherever they were lost.
local DAY_MS, CLOCK_STEP_US = 86400000, 2000000

-- Keeps `key` for `ttl` and a day more; moved only when half of it, or less than `ttl`, is left.
local function keep(key, ttl)
  local wanted = ttl + DAY_MS
  if redis.call('PTTL', key) < math.max(wanted / 2, ttl) then redis.call('PEXPIRE', key, wanted) end
end

-- Gives the project its next stamp, decimal. At most 15 commands.
-- With `forget`, or when `seq` or `gen` was lost, the project begins anew with p = this stamp: whatever is older is a
-- miss from here on, and its name is dropped. Without `seq` the stamp lies 2 s beyond all that is known, so that it is
-- later than any given before, although the clock may have stepped back.
-- A lost `names` begins with the mark '' at -stamp: a listing knows that older entries may be missing.
local function advance(seq, gen, names, ttl, forget)
  local last, p = tonumber(redis.call('GET', seq) or nil), tonumber(redis.call('HGET', gen, 'p') or nil)
  local floor = math.max(last or clock_us() + CLOCK_STEP_US, (p or 0) + (last and 0 or CLOCK_STEP_US))
  local stamp = next_stamp(string.format('%.0f', floor))
  redis.call('SET', seq, stamp, 'KEEPTTL')
  if forget or not (last and p) then
    redis.call('UNLINK', gen, names)
    redis.call('HSET', gen, 'p', stamp)
  end
  if redis.call('EXISTS', names) == 0 then redis.call('ZADD', names, '-' .. stamp, '') end
  keep(seq, ttl)
  keep(gen, ttl)
  keep(names, ttl)
  return stamp
end
