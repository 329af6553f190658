-- Pazzo: applies one step to the index of one user's sessions.
--
-- KEYS[1]   <prefix>u:<SHA-256 of the user, 64 hexadecimal digits>, a hash:
--             handle (16 bytes)  state 1 | added 6 | deadline 6     \0b  blocked until 6
-- ARGV[1]   layout 1 | tag 16 | kind 1 | handle 16 | max. sessions 4 | evict 1 | verified 1 |
--           lifetime 6 | duration 6; the tag is the first half of the SHA-256
-- ARGV[2…]  unlist: the handles, 16 bytes each
--
-- Numbers are big-endian and unsigned; times are ms since 1970, durations ms.
-- Kinds: 0 enlist, 1 confirm, 2 refresh, 3 unlist, 4 list, 5 block, 6 unblock.
-- States: 0 pending, 1 active, 2 doomed.
--
-- The answer is one string: tag 16 | status 1 | now 6 | blocked until 6, then entries as
-- they are after the step, in no particular order, handle 16 | state 1 | added 6 |
-- deadline 6 each: all of them for list and block, if the user is blocked and if the
-- status is 3, else the doomed only.
-- Status: 0 ok, 1 blocked, 2 full, 3 unverified, 4 missing, 5 doomed, 255 corrupt data.
local call, sub, byte, pack, unpackb = redis.call, string.sub, string.byte, struct.pack, struct.unpack
local key = KEYS[1]
local layout, tag, kind, handle, most, evict, verified, lifetime, duration =
  unpackb('>Bc16Bc16I4BBI6I6', ARGV[1])
if layout ~= 1 then
  return redis.error_reply('ERR pazzo: unknown step layout')
end
local now = call('TIME')
now = now[1] * 1000 + (now[2] - now[2] % 1000) / 1000

-- Read the index without what is over: entries maps handles to packed values, the
-- last of which ends at last.
local hash = call('HGETALL', key)
local entries, counted, doomed, blocked, last = {}, 0, 0, 0, 0
local gone, set = {}, {} -- names to remove, pairs to set
for i = 1, #hash, 2 do
  local name, value = hash[i], hash[i + 1]
  if #name == 16 and #value == 13 and byte(value) <= 2 then
    local deadline = unpackb('>I6', value, 8)
    if now >= deadline then
      gone[name] = true
    else
      entries[name] = value
      if byte(value) == 2 then doomed = doomed + 1 else counted = counted + 1 end
      if deadline > last then last = deadline end
    end
  elseif name == '\0b' and #value == 6 then
    blocked = unpackb('>I6', value)
    if now >= blocked then
      blocked = 0
      gone[name] = true
    end
  else
    return pack('>c16BI6I6', tag, 255, now, 0)
  end
end

local function write(name, value)
  gone[name] = nil
  set[#set + 1], set[#set + 2] = name, value
end

local function put(name, state, added, deadline)
  local value = pack('>BI6I6', state, added, deadline)
  entries[name] = value
  write(name, value)
  if state == 2 then doomed = doomed + 1 end
  if deadline > last then last = deadline end
end

-- Marks the n oldest entries that count. Handles are compared byte by byte, because
-- < on strings goes by the server's locale.
local function doom(n)
  local live = {}
  for name, value in pairs(entries) do
    local state, added, deadline = unpackb('>BI6I6', value)
    if state ~= 2 then live[#live + 1] = {name, added, deadline} end
  end
  table.sort(live, function(a, b)
    if a[2] ~= b[2] then return a[2] < b[2] end
    for i = 1, 16 do
      local p, q = byte(a[1], i), byte(b[1], i)
      if p ~= q then return p < q end
    end
    return false
  end)
  for i = 1, math.min(n, #live) do
    put(live[i][1], 2, live[i][2], live[i][3])
  end
end

local status, listed = 0, entries[handle]
local state, added, deadline
if listed then state, added, deadline = unpackb('>BI6I6', listed) end
if kind <= 2 and blocked > 0 then
  status = 1
elseif kind <= 2 and state == 2 then
  status = 5
elseif kind == 0 and listed then
  put(handle, state, added, math.max(deadline, now + lifetime))
elseif kind == 0 then
  local excess = counted + 1 - most
  if excess > 0 and verified == 0 then
    status = 3
  elseif excess > 0 and evict == 0 then
    status = 2
  else
    if excess > 0 then doom(excess) end
    put(handle, 0, now, now + lifetime)
  end
elseif kind == 1 then
  if not listed then
    status = 4
  elseif state ~= 1 then
    put(handle, 1, added, deadline)
  end
elseif kind == 2 then
  if not listed then
    put(handle, 1, now, now + lifetime)
  else
    local later = math.max(deadline, now + lifetime)
    if state ~= 1 or later ~= deadline then put(handle, 1, added, later) end
  end
elseif kind == 3 then
  for i = 2, #ARGV do
    if entries[ARGV[i]] then
      entries[ARGV[i]] = nil
      gone[ARGV[i]] = true
    end
  end
  last = 0
  for _, value in pairs(entries) do
    last = math.max(last, (unpackb('>I6', value, 8)))
  end
elseif kind == 5 then
  local until_ = math.max(blocked, now + duration)
  if until_ ~= blocked then
    blocked = until_
    write('\0b', pack('>I6', blocked))
  end
elseif kind == 6 and blocked > 0 then
  blocked = 0
  gone['\0b'] = true
end

-- Write. The key must never be gone while there is more to write: if its slot is
-- moving to another node, Redis refuses that, and what was written before stays
-- written. So removals come last; but they are allowed when memory is full, and so is
-- what follows one in a script, so if there are any, one of nothing comes first.
local del = {}
for name in pairs(gone) do del[#del + 1] = name end
if #del > 0 and #set > 0 then call('HDEL', key, '') end
for i = 1, #set, 1000 do call('HSET', key, unpack(set, i, math.min(i + 999, #set))) end
for i = 1, #del, 1000 do call('HDEL', key, unpack(del, i, math.min(i + 999, #del))) end
if #del + #set > 0 then
  last = math.max(last, blocked)
  if last > 0 then call('PEXPIREAT', key, string.format('%.0f', last)) end
end

-- Answer.
local everything = kind == 4 or kind == 5 or blocked > 0 or status == 3
local parts, n = {pack('>c16BI6I6', tag, status, now, blocked)}, 1
if everything or doomed > 0 then
  for name, value in pairs(entries) do
    if everything or byte(value) == 2 then
      parts[n + 1], parts[n + 2] = name, value
      n = n + 2
    end
  end
end
return table.concat(parts)
