-- What every script of a run begins with: who the run is, what time it is, and the few verbs on a step's record.
-- KEYS are the same nine for all; ARGV[1] is one JSON document. A script that returns here has written nothing.
local inflight, events, marks, meta, st, out, cnt, ready, lim = unpack(KEYS)
local a = cjson.decode(ARGV[1])
local run = a.run
local m = redis.call('HMGET', meta, 'epoch', 'control', 'sent', 'known', 'settled', 'over', 'limited', 'share')
if not m[1] then return cjson.encode({status = 'norun'}) end
if a.epoch and tonumber(m[1]) ~= a.epoch then return cjson.encode({status = 'stale'}) end
local epoch, control, sent = m[1], m[2], tonumber(m[3])
local known, settled, over = tonumber(m[4]), tonumber(m[5]), m[6]
local limited, share = m[7], tonumber(m[8] or 1) -- of most runs no step has a limit, and nobody else waits
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local TERMINAL = {
  succeeded = true, failed = true, cached = true, skipped = true, upstream_failed = true, cancelled = true,
}

local LANE = 1000000000000 -- more than a step's place in the plan

local function member(node) return run .. '|' .. node end

-- A step that has no record is waiting. `used` tells how much of which budget of retries is spent, as "user:2;timeout:1":
-- nothing for most steps.
local function get(node)
  local text = redis.call('HGET', st, node)
  if not text then return nil end
  local r = {}
  r.state, r.token, r.used, r.seq, r.owner = string.match(text, '^(.-)|(.-)|(.-)|(%d+)|(.*)$')
  r.was = r.state
  return r
end

-- What a step may use of its limits it uses from the message on until the attempt has ended, however it ends.
local USES = {sent = true, running = true, recovering = true, external = true}
local touched = {}

local function lane_of(node)
  local k = redis.call('HGET', lim, string.match(node, '^(.-%d+)%.%d+$') or node) or redis.call('HGET', lim, '*')
  return tonumber(k or 0)
end

local function limits_in(lane) return string.gmatch(redis.call('HGET', lim, '#' .. lane) or '', '[^,]+') end

-- "@gpu" is a limit of the project, whose users are a set and whose size is in `limits`; "name:8" one inside this run.
local function limit_key(limit)
  return string.gsub(inflight, 'inflight$', '') .. 'limit:' .. redis.call('HGET', meta, 'project') .. ':' .. limit
end

local function use(node, r)
  local uses = USES[r.state] or false
  if uses == (USES[r.was] or false) then return end
  for limit in limits_in(lane_of(node)) do
    local name = string.match(limit, '^(.-):%d+$')
    if name then
      redis.call('HINCRBY', cnt, '^' .. name, uses and 1 or -1)
    else
      touched[limit] = true
      redis.call(uses and 'SADD' or 'SREM', limit_key(limit), member(node))
    end
  end
end

local function put(node, r)
  redis.call('HSET', st, node, table.concat({r.state, r.token, r.used, r.seq, r.owner}, '|'))
  if limited then use(node, r) end
  r.was = r.state
end

local function fresh(state) return {state = state, token = epoch .. '.1', used = '', seq = 0, owner = ''} end

local function spent(r, kind) return tonumber(string.match(r.used, kind .. ':(%d+)') or 0) end

local function spend(r, kind)
  local n = spent(r, kind)
  r.used = n > 0 and string.gsub(r.used, kind .. ':%d+', kind .. ':' .. n + 1) or r.used .. kind .. ':1;'
end

local function attempt_of(token) return tonumber(string.match(token, '%.(%d+)$')) end

local function deadline(node, ms) redis.call('ZADD', inflight, string.format('%.0f', now + ms), member(node)) end

-- Events come as JSON objects without their closing brace, since only Redis knows the time.
local function emit(event, more)
  redis.call('XADD', events, '*', 'e', string.format('%s%s,"at_ms":%.0f,"epoch":%s}', event, more or '', now, epoch))
end

-- Ready steps wait in order of the plan, those of one set of limits (a lane) together; they are in flight from the moment
-- they are sent.
local function make_ready(node, r)
  local index, item = string.match(node, '^(%d+)%.?(%d*)')
  r.state, r.owner = 'ready', ''
  put(node, r)
  local place = tonumber(index) * 1000000 + (tonumber(item) or 0)
  if limited then place = place + lane_of(node) * LANE end
  redis.call('ZADD', ready, string.format('%.0f', place), node)
  redis.call('ZREM', inflight, member(node))
end

-- How many places of a limit this run may take: runs of a project wait for a limit in a line, and leave the places of
-- those before them.
local function free(limit)
  local name, most = string.match(limit, '^(.-):(%d+)$')
  if name then return tonumber(most) - tonumber(redis.call('HGET', cnt, '^' .. name) or 0) end
  local key = limit_key(limit)
  most = tonumber(redis.call('HGET', string.gsub(key, ':@.*$', ''), string.sub(limit, 2)) or 0)
  local before = redis.call('ZRANK', key .. ':line', run) or redis.call('ZCARD', key .. ':line')
  return most - redis.call('SCARD', key) - before
end

local function next_in_lines(wake)
  for limit in pairs(touched) do
    local first = redis.call('ZRANGE', limit_key(limit) .. ':line', 0, 0)[1]
    if first and first ~= run then wake[#wake + 1] = first end
  end
end

-- The next ready steps, at most so many, as far as their limits leave places; and the run's place in the lines. Only lanes
-- in which steps wait are looked at: a run may have thousands.
local function within_limits(most)
  local nodes, taken, wanted, top = {}, {}, {}, '+inf'
  while control == 'run' do
    local last = redis.call('ZREVRANGEBYSCORE', ready, top, '-inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
    if not last then break end
    local lane = math.floor(tonumber(last) / LANE)
    local from, to = string.format('%.0f', lane * LANE), string.format('(%.0f', (lane + 1) * LANE)
    local room = most - #nodes
    for limit in limits_in(lane) do room = math.min(room, free(limit) - (taken[limit] or 0)) end
    local found = room > 0 and redis.call('ZRANGEBYSCORE', ready, from, to, 'LIMIT', 0, room) or {}
    for _, node in ipairs(found) do
      redis.call('ZREM', ready, node)
      nodes[#nodes + 1] = node
    end
    local left = redis.call('ZCOUNT', ready, from, to) > 0
    for limit in limits_in(lane) do
      taken[limit] = (taken[limit] or 0) + #found
      wanted[limit] = wanted[limit] or left
    end
    top = '(' .. from
  end
  for limit in string.gmatch(redis.call('HGET', lim, '@') or '', '[^,]+') do
    local line = limit_key(limit) .. ':line'
    if not wanted[limit] then
      if redis.call('ZREM', line, run) == 1 then touched[limit] = true end
    elseif taken[limit] > 0 then
      redis.call('ZADD', line, string.format('%.0f', now), run)
    else
      redis.call('ZADD', line, 'NX', string.format('%.0f', now), run)
    end
  end
  return nodes
end

local function popped(most)
  local nodes = redis.call('ZPOPMIN', ready, most)
  for i = 1, #nodes / 2 do nodes[i] = nodes[2 * i - 1] end
  for i = #nodes, #nodes / 2 + 1, -1 do nodes[i] = nil end
  return nodes
end

-- Puts ready steps in flight up to the window, once few enough are still unclaimed: so top-ups come in batches. While
-- others wait too, the window is the run's share of it.
local function admit(reply)
  local window = share > 0 and math.max(1, math.floor(a.window * share)) or 0
  if limited then
    reply.wake = {}
  elseif control ~= 'run' or sent > math.floor(a.low * share) then
    return
  end
  local room = sent > math.floor(a.low * share) and 0 or window - sent
  local nodes = limited and within_limits(room) or popped(room)
  if #nodes > 0 then
    local seq = redis.call('HINCRBY', marks, 'sent', #nodes)
    for _, node in ipairs(nodes) do
      local r = get(node)
      r.state, r.seq = 'sent', seq
      put(node, r)
      deadline(node, a.grace)
      reply.send[#reply.send + 1] = {node, attempt_of(r.token)}
    end
    sent = sent + #nodes
  end
  if limited then next_in_lines(reply.wake) end
end

-- Whether more of this run is in flight than its share of a queue for which others wait too.
local function too_many() return share < 1 and sent > math.max(1, math.floor(a.window * share)) end

-- A sent step is taken by a worker.
local function take(node, r, owner, event)
  sent = sent - 1
  r.state, r.owner = 'running', owner
  put(node, r)
  deadline(node, a.lease)
  emit(event, string.format(',"token":"%s"', r.token))
end

-- What is to become of a step whose parents have all settled.
local function verdict(node)
  if control == 'cancel' then return 'cancelled' end
  local c = redis.call('HMGET', cnt, node .. '!', node .. '~')
  if c[1] then return 'upstream_failed' end
  if c[2] then return 'skipped' end
  return 'run'
end

-- The end of a map: how many items did not succeed, and what the first of them said.
local function gather(node)
  local c = redis.call('HMGET', cnt, node .. '#b', node .. '#e')
  return {node, control == 'cancel' and 'cancelled' or 'gather', tonumber(c[1] or 0), c[2] or ''}
end

local function gathered(node)
  local c = redis.call('HMGET', cnt, node .. '#d', node .. '#w')
  return c[2] and tonumber(c[1] or 0) >= tonumber(c[2])
end
