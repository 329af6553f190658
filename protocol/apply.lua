-- Pazzo: applies one batch to one session, all of it or nothing.
--
-- KEYS[1]   <prefix>{<handle, 32 hexadecimal digits>}, a hash:
--             \0m  meta 62 bytes, or tombstone 15      \0r  revision 6 | size 4
--             \0p  previous generation 28, if any      \0u  authenticated 6 | user, if any
--             \0d  device, if any                      everything else: a field and its JSON text
-- ARGV[1]   layout 1 | handle 16 | mode 1 | clear 1 | generation 4 | secret 16 | max. value 4 |
--           max. fields 4 | max. size 4 | names 4 | conditions 4 | operations 4,
--           then one byte for each condition and each operation: its kind. Clear is
--           1 if there is a clear among the operations. Mode: 0 admin, 1 open, 2 held.
-- ARGV[2…]  the field names of the conditions and of the operations, in order,
--           then the operands of the conditions and of the operations, in order
--
-- Numbers are big-endian and unsigned; times are ms since 1970, durations ms.
--
-- Conditions: 0 name is (text), 1 name absent, 2 revision is (6), 3 user is or none (user).
-- Operations: 0 get name, 1 get all, 2 set name (text), 3 set if absent name (text),
--   4 delete name, 5 pop name, 6 add name (decimal), 7 append name (text), 8 drain name,
--   9 clear, 10 get identity, 11 touch, 12 rotate (from 4 | secret 16 | grace 6),
--   13 renew (secret 16), 14 authenticate (secret 16 | absolute 6 | user),
--   15 set expiry (idle 6 | absolute 6 | browser close 1), 16 describe (device),
--   17 create (secret 16 | idle 6 | absolute 6 | browser close 1),
--   18 destroy (reason 1 | keep 6).
--
-- The answer is one string:
--   handle 16 | status 1 | at 4 | reason 1 | now 6 | revision 6 | size 4 | meta 62,
-- without the meta if there is no record to tell of, in which case revision and size
-- are 0. If the status is 0, what the operations answer follows, in order, each as
--   found 1 | length 4 | text
-- except get all. Operations that are not named here answer nothing:
--   get, set if absent, pop, drain   whether there was a value, and it
--   delete, rotate                   whether something was deleted or renewed
--   add                              whether there was a value, and the sum
--   get all                          number 4, then length 4 | name | length 4 | text of each
--   get identity                     two answers: \0u and \0d
--   touch, destroy                   whether it was due or live, and the user or ""
-- Status: 0 ok, 1 absent, 2 ended, 3 superseded, 4 conflict, 5 exists, 6 other user,
--   7 not an integer, 8 out of range, 9 not a list, 10 too large,
--   254 unknown layout (at tells which), 255 corrupt data.
local call, byte, sub, find, format = redis.call, string.byte, string.sub, string.find, string.format
local pack, unpackb = struct.pack, struct.unpack
local key, argv = KEYS[1], ARGV
local head = argv[1]
local layout, handle, mode, cleared, gen, secret, maxvalue, maxfields, maxsize, names, conditions, ops =
  unpackb('>Bc16BBI4c16I4I4I4I4I4I4', head)
if layout ~= 1 then
  return redis.error_reply('ERR pazzo: unknown batch layout')
end

-- Read the record: its meta data and the fields that the batch names.
local v
if names == 1 then
  v = call('HMGET', key, '\0m', '\0r', argv[2])
elseif names <= 1000 then
  v = call('HMGET', key, '\0m', '\0r', unpack(argv, 2, names + 1))
else
  v = call('HMGET', key, '\0m', '\0r')
  for i = 2, names + 1, 1000 do
    local part = call('HMGET', key, unpack(argv, i, math.min(i + 999, names + 1)))
    for j = 1, #part do v[i + j] = part[j] end
  end
end

local m, r = v[1], v[2]
local status, at, reason, rev, size = 0, 0, 0, 0, 0
local ends, ended
local flags, mgen, floor, msecret, created, deadline, idle, touched, floortime, renewed
if m then
  layout = byte(m)
  if layout ~= 1 then
    status, at = layout and 254 or 255, layout or 0
  elseif #m == 62 and r and #r == 10 then
    layout, flags, mgen, floor, msecret, created, deadline, idle, touched, floortime, renewed =
      unpackb('>BBI4I4c16I6I6I6I6I6I6', m)
    if flags < 32 then
      ends = touched + idle
      if deadline < ends then ends = deadline end
    end
  elseif #m == 15 and byte(m, 2) == 32 and byte(m, 3) <= 3 then
    ended, ends = byte(m, 3), unpackb('>I6', m, 10)
  end
  if status == 0 and not ends then status = 255 end
elseif r then
  status = 255
end

local clock = call('TIME')
local now = clock[1] * 1000 + clock[2] / 1000
now = now - now % 1
local live, stale
if ends then
  if now >= ends then
    stale, ended = true, nil
  elseif not ended then
    live = true
    rev, size = unpackb('>I6I4', r)
  end
end

local base = 63 + conditions
local kind = ops > 0 and byte(head, base + 1)
local create, destroy = kind == 17, kind == 18
local presents
local p, previous, u, user -- what \0p and \0u hold, and functions that read them when needed
local hasuser, hasprevious, unpresented, custom, close
if live then
  if flags > 0 then
    close, custom, unpresented = flags % 2 >= 1, flags % 4 >= 2, flags % 8 >= 4
    hasprevious, hasuser = flags % 16 >= 8, flags % 32 >= 16
    if hasprevious then
      previous = function()
        p = p or call('HGET', key, '\0p')
        if p and #p == 28 then return unpackb('>I6I6', p, 17) end
        status = 255
      end
    end
    if hasuser then
      user = function()
        u = u or call('HGET', key, '\0u')
        if u and #u > 6 then return sub(u, 7) end
        status = 255
      end
    end
  end
else
  v, m = {}, ''
end

-- Judge the access.
if status ~= 0 then
  m, rev = '', 0
elseif ended then
  status, reason = 2, ended
elseif create then
  if live then
    status, m, rev = 5, '', 0
  elseif not stale and call('HLEN', key) > 0 then
    status = 255 -- somebody else's hash
  end
elseif not live then
  if not destroy or mode ~= 0 then status = 1 end
elseif mode ~= 0 then
  if gen > mgen then
    status = 1
  elseif mode == 2 then
    if gen < floor then status = 3 end
  elseif gen == mgen then
    if secret ~= msecret then
      status = 1
    elseif unpresented and not destroy then
      presents = true
    end
  elseif gen < floor or gen ~= mgen - 1 or not hasprevious then
    status = 3
  else
    local presented, grace = previous()
    if status == 0 then
      if sub(p, 1, 16) ~= secret then
        status = 1
      elseif presented > 0 and now >= presented + grace then
        status = 3
      end
    end
  end
  if status == 1 then
    m, rev = '', 0
  elseif status == 3 then
    m = sub(m, 1, 10) .. string.rep('\0', 16) .. sub(m, 27)
  elseif presents then
    unpresented = false
    m = sub(m, 1, 1) .. string.char(flags - 4) .. sub(m, 3)
    if previous then
      previous()
      if status == 0 then p = sub(p, 1, 16) .. pack('>I6', now) .. sub(p, 23) end
    end
  end
end

-- The conditions. v[f] is the value of the field argv[f-1]; argv[a] is the next operand.
local f, a = 3, names + 2
if status == 0 then
  for i = 1, conditions do
    local holds
    kind = byte(head, 63 + i)
    if kind == 0 then
      holds = v[f] == argv[a]
      f, a = f + 1, a + 1
    elseif kind == 1 then
      holds = not v[f]
      f = f + 1
    elseif kind == 2 then
      holds = pack('>I6', rev) == argv[a]
      a = a + 1
    else
      holds = not user or user() == argv[a]
      a = a + 1
    end
    if status ~= 0 then break end
    if not holds then
      status, at = 4, i - 1
      break
    end
  end
end

-- The operations, none of which writes yet: out is what they answer, packed; field and
-- text are the first that HSET will set, set the others; del is what HDEL will remove;
-- dirty means that the meta data change.
local out, n = nil, 0
local none, yes = '\0\0\0\0\0', '\1\0\0\0\0'
local field, text, set, k = nil, nil, nil, 0
local del, d = nil, 0
local count, added = nil, 0
cleared = cleared == 1
local revised, dirty, rotated, prior, login, device, owner = false, false, nil, p, nil, nil, nil
if status == 0 then
  if create then
    msecret, idle, deadline, close = unpackb('>c16I6I6B', argv[a])
    a = a + 1
    mgen, floor, created, touched, floortime, renewed = 1, 1, now, now, now, now
    deadline, close = now + deadline, close == 1
    count, revised, dirty = 0, true, true
  end
  if cleared then count, size = 0, 0 end
end
for i = create and 2 or 1, status == 0 and ops or 0 do
  kind = byte(head, base + i)
  if kind ~= 2 and not out then out = {} end
  if kind < 9 and kind ~= 1 then
    local old, name, new, drop = v[f], argv[f - 1], nil, false
    f = f + 1
    if kind == 0 then
      n = n + 1
      out[n] = old and pack('>BI4c0', 1, #old, old) or none
    else
      if cleared then old = false end
      if kind == 2 then
        new = argv[a]
        a = a + 1
      elseif kind == 6 then
        local x, y = 0, argv[a] + 0 -- which costs less than tonumber
        a = a + 1
        if old then
          if old == '0' or find(old, '^%-?[1-9][0-9]*$') then x = old + 0 else status = 7 end
        end
        local sum = x + y
        if status == 0 and (x > 9007199254740991 or x < -9007199254740991 or y > 9007199254740991 or
            y < -9007199254740991 or sum > 9007199254740991 or sum < -9007199254740991) then
          status = 8
        end
        new = format('%.0f', sum)
        n = n + 1
        out[n] = pack('>BI4c0', old and 1 or 0, #new, new)
      elseif kind == 7 then
        if not old or old == '[]' then
          new = '[' .. argv[a] .. ']'
        elseif byte(old) == 91 then
          new = sub(old, 1, -2) .. ',' .. argv[a] .. ']'
        else
          status = 9
        end
        a = a + 1
        if new and #new > maxvalue then status = 10 end
      else -- set if absent, delete, pop, drain
        n = n + 1
        out[n] = old and pack('>BI4c0', 1, #old, old) or none
        if kind == 3 then
          if not old then new = argv[a] end
          a = a + 1
        elseif kind == 8 and old and byte(old) ~= 91 then
          status = 9
        else
          drop = old
          if kind == 4 and old then out[n] = yes end
        end
      end
    end
    if status ~= 0 then
      -- refused
    elseif new then
      local grows
      if old then
        grows = #new - #old
      else
        grows = #new + #name
        added = added + 1
        if not count then
          count = call('HLEN', key) - 2
          if flags % 16 >= 8 then count = count - 1 end
          if flags % 32 >= 16 then count = count - 1 end
          count = count - call('HEXISTS', key, '\0d')
        end
        if count + added > maxfields then status = 10 end
      end
      size = size + grows
      if grows > 0 and size > maxsize then status = 10 end
      if field then
        if set then
          set[k + 1], set[k + 2] = name, new
        else
          set = {name, new, nil, nil, nil, nil} -- with room, for growing costs
        end
        k = k + 2
      else
        field, text = name, new
      end
      revised = true
    elseif drop then
      added = added - 1
      size = size - #name - #drop
      del = del or {}
      d = d + 1
      del[d] = name
      revised = true
    end
  elseif kind == 1 then
    local all = live and call('HGETALL', key) or {}
    local start, total = n + 1, 0
    n = start
    for j = 1, #all, 2 do
      local name, value = all[j], all[j + 1]
      if byte(name) ~= 0 then
        n, total = n + 1, total + 1
        out[n] = pack('>I4c0I4c0', #name, name, #value, value)
      end
    end
    out[start] = pack('>I4', total)
  elseif kind == 10 then
    if user then user() end
    local seen = live and call('HGET', key, '\0d')
    out[n + 1] = u and pack('>BI4c0', 1, #u, u) or none
    out[n + 2] = seen and pack('>BI4c0', 1, #seen, seen) or none
    n = n + 2
  elseif kind == 11 then
    n = n + 1
    out[n] = none
    if now - touched >= (idle - idle % 10) / 10 then
      touched, dirty = now, true
      if login then owner = sub(login, 7) elseif user then owner = user() end
      out[n] = owner and pack('>BI4c0', 1, #owner, owner) or yes
    end
  elseif kind == 12 then
    local from, fresh, grace = unpackb('>I4c16I6', argv[a])
    a, n = a + 1, n + 1
    out[n] = none
    local good = false
    if hasprevious then
      local presented, left = previous()
      good = status == 0 and (presented == 0 or now < presented + left)
    end
    if status == 0 and mgen == from and not good then
      out[n] = yes
      prior = pack('>c16I6I6', msecret, 0, grace)
      rotated, hasprevious, unpresented = true, true, true
      mgen, msecret, renewed = mgen + 1, fresh, now
      revised, dirty = true, true
    end
  elseif kind == 13 or kind == 14 then
    local operand = argv[a]
    a = a + 1
    if kind == 14 and user and user() ~= sub(operand, 23) then
      if status == 0 then status = 6 end
    else
      if hasprevious then rotated = false end
      hasprevious, unpresented = false, false
      mgen = mgen + 1
      floor, msecret, floortime, renewed = mgen, sub(operand, 1, 16), now, now
      revised, dirty = true, true
      if kind == 14 then
        login = pack('>I6', now) .. sub(operand, 23)
        hasuser, touched = true, now
        local absolute = unpackb('>I6', operand, 17)
        if absolute > 0 and not custom then deadline = now + absolute end
      end
    end
  elseif kind == 15 then
    idle, deadline, close = unpackb('>I6I6B', argv[a])
    a = a + 1
    deadline, close = now + deadline, close == 1
    touched, custom, revised, dirty = now, true, true, true
  elseif kind == 16 then
    device, revised = argv[a], true
    a = a + 1
  elseif kind == 18 then
    owner = user and user() or ''
  end
  if status ~= 0 then
    at = i - 1
    break
  end
end

if status ~= 0 then
  -- Refused. The first presentation of the current token counts all the same.
  if create or status == 255 then m = '' end
  if presents and status ~= 255 then
    if p then call('HSET', key, '\0m', m, '\0p', p) else call('HSET', key, '\0m', m) end
  end
  if m == '' then rev, size = 0, 0 else rev, size = unpackb('>I6I4', r) end
  return handle .. pack('>BI4BI6I6I4', status, at, reason, now, rev, size) .. m
end

-- Write. Redis refuses the first write of a script if any, so all or nothing: HDEL
-- goes first, because it is allowed when memory is full. But it leaves the meta data:
-- a key must never be gone while there is more to write to it, for if its slot is
-- moving to another node, Redis refuses that, and what was written stays written.
if live and (cleared or destroy) or stale and (create or destroy) then
  local all = call('HKEYS', key)
  del, d = {}, 0
  for i = 1, #all do
    if byte(all[i]) ~= 0 or (stale or destroy) and all[i] ~= '\0m' then
      d = d + 1
      del[d] = all[i]
    end
  end
  if d > 0 then revised = true end
end
if dirty or presents or device then
  set = set or {}
  if rotated == false and live then
    del = del or {}
    d = d + 1
    del[d] = '\0p'
  elseif (rotated or presents) and prior then
    set[k + 1], set[k + 2] = '\0p', prior
    k = k + 2
  end
  if login then
    set[k + 1], set[k + 2] = '\0u', login
    k = k + 2
  end
  if device == '' then
    del = del or {}
    d = d + 1
    del[d] = '\0d'
  elseif device then
    set[k + 1], set[k + 2] = '\0d', device
    k = k + 2
  end
  if dirty then
    m = pack('>BBI4I4c16I6I6I6I6I6I6', 1, (close and 1 or 0) + (custom and 2 or 0) + (unpresented and 4 or 0) +
      (hasprevious and 8 or 0) + (hasuser and 16 or 0), mgen, floor, msecret, created, deadline, idle, touched,
      floortime, renewed)
  end
  if dirty or presents then
    set[k + 1], set[k + 2] = '\0m', m
    k = k + 2
  end
end
for i = 1, d, 1000 do call('HDEL', key, unpack(del, i, math.min(i + 999, d))) end
if destroy then
  local why, keep = unpackb('>BI6', argv[a])
  call('HSET', key, '\0m', pack('>BBBI6I6', 1, 32, why, now, now + keep))
  call('PEXPIREAT', key, format('%.0f', now + keep))
  return handle .. pack('>BI4BI6I6I4BI4', 0, 0, 0, now, 0, 0, live and 1 or 0, #owner) .. owner
end
if revised then r = pack('>I6I4', rev + 1, size) end
if field then
  if k == 0 then
    call('HSET', key, '\0r', r, field, text)
  else
    call('HSET', key, '\0r', r, field, text, unpack(set, 1, math.min(k, 1000)))
  end
elseif revised or k > 0 then
  call('HSET', key, '\0r', r, unpack(set or {}, 1, math.min(k, 1000)))
end
for i = 1001, k, 1000 do call('HSET', key, unpack(set, i, math.min(i + 999, k))) end
if dirty then
  local expires = touched + idle
  if deadline < expires then expires = deadline end
  if create or expires ~= ends then call('PEXPIREAT', key, format('%.0f', expires)) end
end

-- Answer.
if n > 1 then return handle .. '\0\0\0\0\0\0' .. pack('>I6', now) .. r .. m .. table.concat(out) end
return handle .. '\0\0\0\0\0\0' .. pack('>I6', now) .. r .. m .. (n == 1 and out[1] or '')
