#!lua
-- put.lua: store one entry under the project's next stamp. Refused on a full Redis: it brings new data in.
-- Shared: clock.lua entry.lua project.lua
-- KEYS[1]  project:{P}:<name>  string  packed entry
-- KEYS[2]  seq:{P}             string  last stamp of the project, decimal
-- KEYS[3]  gen:{P}             hash    p, t:<tag> -> stamp of the last invalidation, decimal
-- KEYS[4]  names:{P}           zset    name -> stamp + TTL, us; '' -> minus the stamp at which the index began
-- KEYS[5]  project:{P}:<NUL><random>  string  a large packed entry that was sent ahead; else not given
-- ARGV     [1] now_ms or ''  [2] name  [3] TTL, ms
--          [4] If-Match  [5] If-None-Match: '' none | '*' any | '=' and 16 bytes per entity tag
--          [6] packed entry, stamp and times still zero; not given when it was sent ahead
-- Returns  { 'created' | 'replaced', stamp, now_ms }, { 'refused' }, or { 'lost' }: what was sent ahead is gone
-- Cost     O(log names), at most 26 commands; forgets at most 64 expired names, one slot
local entry, seq, gen, names, ahead = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local now, name, ttl = clock_ms(), ARGV[2], tonumber(ARGV[3])
local word, head = judge(entry, gen, now)
if not admits(ARGV[4], ARGV[5], word, head) then
  if ahead then redis.call('UNLINK', ahead) end
  return { 'refused' }
end
if ahead and redis.call('EXISTS', ahead) == 0 then return { 'lost' } end

local stamp = advance(seq, gen, names, ttl)
if ahead then
  redis.call('RENAME', ahead, entry)
  redis.call('PEXPIRE', entry, ttl)
else
  redis.call('SET', entry, ARGV[6], 'PX', ttl)
end
-- In place: joining the parts in Lua would copy the payload once more.
redis.call('SETRANGE', entry, 2, struct.pack('>I8I8I8I8', tonumber(stamp), now, now + ttl, now + ttl))
-- Never before the true end of the entry, since no stamp is behind the clock.
redis.call('ZADD', names, string.format('%.0f', tonumber(stamp) + ttl * 1000), name)
local gone = redis.call('ZRANGEBYSCORE', names, 0, string.format('%.0f', now * 1000), 'LIMIT', 0, 64)
if #gone > 0 then redis.call('ZREM', names, unpack(gone)) end
return { word == 'live' and 'replaced' or 'created', stamp, string.format('%.0f', now) }
