-- What every script of a run begins with: who the run is, what time it is, and the few verbs on a step's record.
-- KEYS are the same nine for all; ARGV[1] is one JSON document. A script that returns here has written nothing.
local inflight, events, marks, meta, st, out, cnt, ready, lim = unpack(KEYS)
local a = cjson.decode(ARGV[1])
local run = a.run
local m = redis.call('HMGET', meta, 'epoch', 'control', 'sent', 'known', 'settled', 'over', 'limited', 'share', 'rebuilt',
  'opening', 'life')
-- A run of an earlier life of this Redis may lack what was answered last: it is unknown.
if not m[1] or m[11] ~= redis.call('HGET', marks, 'life') then return cjson.encode({status = 'norun'}) end
if a.epoch and tonumber(m[1]) ~= a.epoch then return cjson.encode({status = 'stale'}) end
local epoch, control, sent = m[1], m[2], tonumber(m[3])
local known, settled, over = tonumber(m[4]), tonumber(m[5]), m[6]
local limited, share = m[7], tonumber(m[8] or 1) -- of most runs no step has a limit, and nobody else waits
local walking = m[9] == '1' and m[10] == '1' -- a rebuild is under way: what it has not come to yet may have ended before
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local TERMINAL = {
  succeeded = true, failed = true, cached = true, skipped = true, upstream_failed = true, cancelled = true,
}

local LANE = 1000000000000 -- more than a step's place in the plan

local function member(node) return run .. '|' .. node end

-- A step that has no record is waiting. `seq` tells how many were sent to its queue when it was, and is 0 where no attempt
-- at it was. `used` tells how much of which budget of retries is spent, as "user:2;timeout:1":
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
local touched = false
local limit_keys

local function lane_of(node)
  local k = redis.call('HGET', lim, string.match(node, '^(.-%d+)%.%d+$') or node) or redis.call('HGET', lim, '*')
  return tonumber(k or 0)
end

local function limits_of(lane) return redis.call('HGET', lim, '#' .. lane) or '' end

local function each(limits) return string.gmatch(limits, '[^,]+') end

-- What is kept of the limits of the project: their sizes (''), the users of one (':@gpu'), who waits for some
-- (':line:@gpu,@lic'), and which of these lines there are (':lines').
local function limit_key(of)
  limit_keys = limit_keys or string.gsub(inflight, 'inflight$', '') .. 'limit:' .. redis.call('HGET', meta, 'project')
  return limit_keys .. of
end

local function use(node, r)
  local uses = USES[r.state] or false
  if uses == (USES[r.was] or false) then return end
  for limit in each(limits_of(lane_of(node))) do
    local name = string.match(limit, '^(.-):%d+$')
    redis.call('HINCRBY', cnt, '^' .. (name or limit), uses and 1 or -1)
    if not name then
      touched = true
      redis.call(uses and 'SADD' or 'SREM', limit_key(':' .. limit), member(node))
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

-- Whether this may be the attempt for which a rebuilt step is held: none that the record knows to be over.
local function is_held_for(r, token)
  return r ~= nil and r.state == 'recovering' and token ~= r.token and attempt_of(token) >= attempt_of(r.token)
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
