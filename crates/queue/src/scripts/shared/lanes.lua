-- lanes.lua: where ready tasks stand. Priority first, then lanes by turn, then place.
-- A lane is the list ready:<p>:<lane>, ascending by place, and the zset returned:<p>:<lane> of what came back to its
-- place; an item is the number, or `place:number` where they differ. turns:<p> holds the lanes that have tasks.

-- Lets a lane take part. One that comes back starts at the lowest time there: it neither waits nor catches up.
local function open_lane(p, lane)
  local turns = names['turns:' .. p]
  local first = redis.call('ZRANGE', turns, 0, 0, 'WITHSCORES')
  redis.call('ZADD', turns, 'NX', first[2] or '0', lane)
  redis.call('ZADD', names.used, p, p)
end

-- Items of one lane, all of them behind what is there.
local function append(p, lane, items)
  local length = redis.call('RPUSH', names['ready:' .. p .. ':' .. lane], unpack(items))
  if length == #items then open_lane(p, lane) end
  told.ready = told.ready + #items
end

-- One task, back at its place.
local function put_back(number, task)
  local p = task.priority
  redis.call('ZADD', names['returned:' .. p .. ':' .. task.lane], plain(task.place or number), wide(number))
  open_lane(p, task.lane)
  told.ready = told.ready + 1
end
