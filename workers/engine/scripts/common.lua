-- What every script of a run begins with: who the run is, what time it is, and the few verbs on a step's record.
-- KEYS are the same eight for all; ARGV[1] is one JSON document. A script that returns here has written nothing.
local inflight, events, marks, meta, st, out, cnt, ready = unpack(KEYS)
local a = cjson.decode(ARGV[1])
local run = a.run
local m = redis.call('HMGET', meta, 'epoch', 'control', 'sent', 'known', 'settled', 'over')
if not m[1] then return cjson.encode({status = 'norun'}) end
if a.epoch and tonumber(m[1]) ~= a.epoch then return cjson.encode({status = 'stale'}) end
local epoch, control, sent = m[1], m[2], tonumber(m[3])
local known, settled, over = tonumber(m[4]), tonumber(m[5]), m[6]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local TERMINAL = {
  succeeded = true, failed = true, cached = true, skipped = true, upstream_failed = true, cancelled = true,
}

local function member(node) return run .. '|' .. node end

-- A step that has no record is waiting. `used` tells how much of which budget of retries is spent, as "user:2;timeout:1":
-- nothing for most steps.
local function get(node)
  local text = redis.call('HGET', st, node)
  if not text then return nil end
  local r = {}
  r.state, r.token, r.used, r.seq, r.owner = string.match(text, '^(.-)|(.-)|(.-)|(%d+)|(.*)$')
  return r
end

local function put(node, r)
  redis.call('HSET', st, node, table.concat({r.state, r.token, r.used, r.seq, r.owner}, '|'))
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

-- Ready steps wait in order of the plan; they are in flight from the moment they are sent.
local function make_ready(node, r)
  local index, item = string.match(node, '^(%d+)%.?(%d*)')
  r.state, r.owner = 'ready', ''
  put(node, r)
  redis.call('ZADD', ready, tonumber(index) * 1000000 + (tonumber(item) or 0), node)
  redis.call('ZREM', inflight, member(node))
end

-- Puts ready steps in flight up to the window, once few enough are still unclaimed: so top-ups come in batches.
local function admit(send)
  if control ~= 'run' or sent > a.low then return end
  local popped = redis.call('ZPOPMIN', ready, a.window - sent)
  if #popped == 0 then return end
  local seq = redis.call('HINCRBY', marks, 'sent', #popped / 2)
  for i = 1, #popped, 2 do
    local node = popped[i]
    local r = get(node)
    r.state, r.seq = 'sent', seq
    put(node, r)
    deadline(node, a.grace)
    send[#send + 1] = {node, attempt_of(r.token)}
  end
  sent = sent + #popped / 2
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
