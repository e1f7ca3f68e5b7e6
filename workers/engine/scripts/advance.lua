-- The one transition: settles steps, counts them into all their chords, opens a map, puts what became ready in flight,
-- appends the events, and tells whether the run is over. For the hook, the cascade, the reconciler and cancellation.
--   settle: n node, s state, t token of the attempt (absent: settled in place), k token to record, need | g (waiting
--           steps: how many parents, or whose item), due (only past its deadline), o outputs, e event, c counter,
--           x error, stop (a failure ends the run), soft (fails nothing but itself), kids {child, need, asks, join|off},
--           retry {kind, max, delay_ms, factor, longest_ms, e}
--   admit:  {node, need | map's node, ask, hold {token, used, at}, park {e, ms, until, ends}}
--   open: {n, need, width, e, t token of the attempt that opens a plan, due, frame what is kept of that plan, limits of its
--          steps that have any}
--   opened: node   roots: 1 when all are opened
--   handle: how many steps run on failure, failure: what they are told of it
--   claim: {n, attempt, owner, e}: the caller takes this step at once, should it be among those to send
for _, s in ipairs(a.settle) do
  if type(s.n) ~= 'string' or type(s.e) ~= 'string' or type(s.kids) ~= 'table' or not TERMINAL[s.s] then
    return cjson.encode({status = 'invalid', node = s.n})
  end
end
if a.claim and not (type(a.claim.n) == 'string' and type(a.claim.owner) == 'string' and type(a.claim.e) == 'string') then
  return cjson.encode({status = 'invalid', node = a.claim.n})
end
local BAD = {failed = true, upstream_failed = true, cancelled = true}
local IN_PLACE = {asking = true, ready = true, open = true, recovering = true, parked = true}
local CANCELLABLE = {
  asking = true, ready = true, recovering = true, sent = true, backoff = true, flight_wait = true, parked = true,
}
local reply = {status = 'ok', ok = {}, asks = {}, send = {}}
local counts = {}
local stop = false

-- A waiting step may leave that state only when its rule holds: all parents settled, or its map open.
local function may_begin(need)
  if type(need) ~= 'table' then return false end
  if need.map then
    local parent = get(need.map)
    return parent ~= nil and parent.state == 'open'
  end
  return tonumber(redis.call('HGET', cnt, need.node) or 0) >= need.parents
end

local function count_child(kid, state)
  local node, need = kid[1], kid[2]
  if BAD[state] then redis.call('HINCRBY', cnt, node .. '!', 1) end
  -- A merge (1) runs with skipped parents too; what a branch did not choose (2) is skipped.
  if kid[4] == 2 or (state == 'skipped' and kid[4] ~= 1) then redis.call('HINCRBY', cnt, node .. '~', 1) end
  if redis.call('HINCRBY', cnt, node, 1) < need or redis.call('HEXISTS', st, node) == 1 then return end
  local what = verdict(node)
  if what == 'run' and kid[3] == 0 then return make_ready(node, fresh('ready')) end
  put(node, fresh('asking'))
  deadline(node, a.lease)
  reply.asks[#reply.asks + 1] = {node, what}
end

local function count_item(s, state)
  redis.call('HINCRBY', cnt, s.g .. '#d', 1)
  if BAD[state] then
    redis.call('HINCRBY', cnt, s.g .. '#b', 1)
    if s.x then redis.call('HSETNX', cnt, s.g .. '#e', s.x) end
  end
  if gathered(s.g) then reply.asks[#reply.asks + 1] = gather(s.g) end
end

local function try_again(s, r)
  local used = spent(r, s.retry.kind)
  if control == 'cancel' or used >= s.retry.max then return false end
  local delay = math.floor(math.min(s.retry.delay_ms * s.retry.factor ^ used, s.retry.longest_ms))
  local attempt = attempt_of(s.t) + 1
  spend(r, s.retry.kind)
  r.token, r.owner = epoch .. '.' .. attempt, ''
  emit(s.retry.e, string.format(',"next_attempt":%d,"at_or_after_ms":%.0f', attempt, now + delay))
  if delay <= 0 then
    make_ready(s.n, r)
  else
    r.state = 'backoff'
    put(s.n, r)
    deadline(s.n, delay)
  end
  return true
end

local function acceptable(s, r)
  if s.due and tonumber(redis.call('ZSCORE', inflight, member(s.n)) or now + 1) > now then return false end
  if s.t and r and r.state == 'recovering' then return s.s ~= 'failed' or is_held_for(r, s.t) end
  if s.t then return r ~= nil and r.token == s.t end
  if s.s == 'cancelled' then return r == nil or CANCELLABLE[r.state] or (r.state == 'open' and gathered(s.n)) end
  if r == nil then return may_begin(s.need) end
  return IN_PLACE[r.state]
end

local function settle(s)
  local r = get(s.n)
  if r and TERMINAL[r.state] then return (r.token == s.t) and 'done' or 'stale' end
  if not acceptable(s, r) then return 'stale' end
  r = r or fresh('waiting')
  if r.state == 'sent' then sent = sent - 1 end
  if r.state == 'ready' then redis.call('ZREM', ready, s.n) end
  if s.s == 'failed' and s.retry and try_again(s, r) then return 'retry' end
  local state, counter = s.s, s.c
  if state == 'failed' and control == 'cancel' then
    state = 'cancelled'
    if counter == 'failed' then counter = 'cancelled' end
  end
  r.state, r.owner = state, ''
  r.token = s.k or s.t or r.token
  put(s.n, r)
  redis.call('ZREM', inflight, member(s.n))
  if s.o then redis.call('HSET', out, s.n, s.o) end
  if s.x and state == 'failed' and not s.soft then redis.call('HSETNX', meta, 'error', s.x) end
  if s.stop and state == 'failed' then stop = true end
  -- An attempt that was claimed, and is not the one by which the step settles, ends with it.
  local left = not s.t and not s.k and tonumber(r.seq) > 0 and string.format(',"left":"%s"', r.token)
  emit(s.e, string.format(',"state":"%s"%s', state, left or ''))
  settled = settled + 1
  if counter ~= '' then counts[counter] = (counts[counter] or 0) + 1 end
  for _, kid in ipairs(s.kids) do count_child(kid, state) end
  if s.g then count_item(s, state) end
  return 'ok'
end

-- A step of a rebuilt run that may still be at work somewhere: its live attempt has one lease to say so. Where the record
-- has the end of the last attempt, and when the next may begin, nothing is before that.
--   token: of the last attempt, if that is over; else with this epoch, and 0 where none is known   used: as in `get`
local function hold(node, known)
  local r = {state = 'recovering', token = known.token, used = known.used, seq = 0, owner = ''}
  local wait = known.at and known.at - now or 0
  if wait > 0 then r.state, r.token = 'backoff', epoch .. '.' .. attempt_of(r.token) + 1 end
  put(node, r)
  deadline(node, wait > 0 and wait or a.lease)
end

-- A step that waits for an answer or a time: its deadline is the end of the wait, or when to look at it again.
local function park(node, r, wait)
  local ms = wait['until'] and wait['until'] - now or wait.ms
  r.state = 'parked'
  put(node, r)
  deadline(node, ms)
  emit(wait.e, string.format(',"until_ms":%s', wait.ends and string.format('%.0f', now + ms) or 'null'))
end

-- Steps of a plan that is opened get lanes as those of the run's own plan have; the run's own limit holds for them too.
local function add_lanes(limits)
  limited = '1'
  redis.call('HSET', meta, 'limited', 1)
  local of_run = redis.call('HGET', lim, '#' .. (redis.call('HGET', lim, '*') or 0)) or ''
  for node, own in pairs(limits) do
    local set = of_run == '' and own or own .. ',' .. of_run
    local lane = redis.call('HGET', lim, '=' .. set)
    if not lane then
      lane = redis.call('HINCRBY', lim, '#', 1)
      redis.call('HSET', lim, '#' .. lane, set, '=' .. set, lane)
    end
    redis.call('HSET', lim, node, lane)
  end
end

-- A failure ends the run. What a person has said of it holds again for the steps that run on failure.
local function end_run()
  reply.stop = true
  redis.call('HSET', meta, 'control', 'cancel', 'cause', 'fail_fast', 'asked', control)
  control = 'cancel'
  deadline('', a.lease)
end

-- The run has failed and is over: the steps that run on failure are known from now on, once, unless somebody cancelled it.
local asked = a.handle and redis.call('HGET', meta, 'asked')
if a.handle and over == '1' and asked ~= 'cancel' and redis.call('HSETNX', meta, 'handled', 1) == 1 then
  over, known = '0', known + a.handle
  if control == 'cancel' then control = asked == 'pause' and 'pause' or 'run' end
  redis.call('HSET', meta, 'control', control)
  redis.call('HSET', out, '!', a.failure)
  redis.call('ZREM', inflight, member(''), member('@timeout'))
end

if a.open then
  local r = get(a.open.n)
  if not r and may_begin(a.open.need) then r = fresh('asking') end
  local due = not a.open.due or tonumber(redis.call('ZSCORE', inflight, member(a.open.n)) or now + 1) <= now
  local held = r and a.open.t and due and (r.state == 'recovering' or (r.state == 'running' and r.token == a.open.t))
  reply.began = (r and (r.state == 'asking' or held) and control ~= 'cancel') or false
  if reply.began then
    r.state, r.owner = 'open', ''
    if a.open.t then r.token, r.seq = a.open.t, 1 end -- its attempt may be none that was sent in this epoch
    put(a.open.n, r)
    if a.open.frame then redis.call('HSET', out, a.open.n .. '/', a.open.frame) end
    if a.open.limits then add_lanes(a.open.limits) end
    known = known + a.open.width
    redis.call('HSET', cnt, a.open.n .. '#w', a.open.width)
    emit(a.open.e, string.format(',"known":%d', known))
  end
  -- A plan is that of one attempt; another has nothing to open.
  reply.opened = r ~= nil and r.state == 'open' and (not a.open.t or r.token == a.open.t)
  if reply.opened then deadline(a.open.n, a.lease) end
end

-- What was decided ahead rests on the results of this call's attempts: of one that is not its step's, nothing is taken.
for i, s in ipairs(a.settle) do
  if reply.refused and not s.t and s.s ~= 'cancelled' then
    reply.ok[i] = 'stale'
  else
    reply.ok[i] = settle(s)
    local other = reply.ok[i] == 'stale' or (reply.ok[i] == 'done' and get(s.n).state ~= s.s)
    if s.t and other then reply.refused = true end
  end
end
if reply.refused then a.admit, a.claim = {}, nil end
if stop and walking then
  redis.call('HSET', meta, 'stop', 1)
elseif stop and control ~= 'cancel' then
  end_run()
end

for _, entry in ipairs(a.admit) do
  local node, r = entry.n, get(entry.n)
  if control ~= 'cancel' and ((r and r.state == 'asking') or (not r and may_begin(entry.need))) then
    if entry.ask then
      put(node, r or fresh('asking'))
      deadline(node, a.lease)
      reply.asks[#reply.asks + 1] = {node, verdict(node)}
    elseif entry.hold and not (r and r.used ~= '') then -- else it was tried in this epoch, or waited in it
      hold(node, entry.hold)
    elseif entry.park then
      park(node, r or fresh('parked'), entry.park)
    else
      make_ready(node, r or fresh('ready'))
    end
  end
end

if a.opened then
  redis.call('HSET', cnt, a.opened .. '#o', 1)
  local r = get(a.opened)
  if r and r.state == 'open' then deadline(a.opened, a.lease * 6) end
end
if a.roots == 1 then
  redis.call('HSET', meta, 'opening', 0)
  if walking and redis.call('HGET', meta, 'stop') then end_run() end
  -- A run that is cancelled, or over and not said to be, is still watched.
  if control ~= 'cancel' and over == '0' then redis.call('ZREM', inflight, member('')) end
end
admit(reply)
for i, s in ipairs(a.claim and not too_many() and reply.send or {}) do
  if s[1] == a.claim.n and s[2] == a.claim.attempt then
    local r = get(s[1])
    take(s[1], r, a.claim.owner, a.claim.e)
    table.remove(reply.send, i)
    reply.claimed = r.token
    break
  end
end
for name, n in pairs(counts) do redis.call('HINCRBY', meta, 'n_' .. name, n) end
if settled == known and over == '0' then
  over = '1'
  deadline('', a.lease)
end
redis.call('HSET', meta, 'sent', sent, 'known', known, 'settled', settled, 'over', over)
if over == '1' then reply.over = true end
reply.control = control
return cjson.encode(reply)
