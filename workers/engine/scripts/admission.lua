-- Which ready steps are sent, as far as the window of a run, and limits, have room: for the scripts that send steps. It
-- follows `common.lua`.

local MOST_VISITS = 1000 -- of those who wait, in one call: whoever is further behind is asked once they went on

-- Places that nobody has, by limit: "@gpu" is one of the project, "name:8" one inside this run.
local places = {}

local function free(limit)
  if not places[limit] then
    local name, most = string.match(limit, '^(.-):(%d+)$')
    if name then
      places[limit] = tonumber(most) - tonumber(redis.call('HGET', cnt, '^' .. name) or 0)
    else
      most = tonumber(redis.call('HGET', limit_key(''), string.sub(limit, 2)) or 0)
      -- Of a limit without places none comes free.
      places[limit] = most > 0 and most - redis.call('SCARD', limit_key(':' .. limit)) or -math.huge
    end
  end
  return places[limit]
end

local function room_in(limits)
  local room = math.huge
  for limit in each(limits) do room = math.min(room, free(limit)) end
  return room
end

local function occupy(limits, n)
  for limit in each(limits) do places[limit] = free(limit) - n end
end

-- The lanes in which steps of this run are ready, those with most limits first: it may have thousands of others. Of its
-- limits, `set` are the project's, `own` are inside the run, and `all` is that of all its steps.
local function lanes_in_use()
  local lanes, top = {}, '+inf'
  while true do
    local last = redis.call('ZREVRANGEBYSCORE', ready, top, '-inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
    if not last then return lanes end
    local number = math.floor(tonumber(last) / LANE)
    local set, own, all = {}, {}, ''
    for limit in each(limits_of(number)) do
      if string.find(limit, '^run:') then
        all = limit
      else
        table.insert(string.sub(limit, 1, 1) == '@' and set or own, limit)
      end
    end
    lanes[#lanes + 1] = {
      from = string.format('%.0f', number * LANE), to = string.format('(%.0f', (number + 1) * LANE),
      set = table.concat(set, ','), own = table.concat(own, ','), all = all, waits = true,
    }
    top = '(' .. lanes[#lanes].from
  end
end

local function next_in(line)
  repeat
    line.at = line.at + 1
    local found = redis.call('ZRANGE', limit_key(':line:' .. line.set), line.at, line.at, 'WITHSCORES')
    line.run, line.since = found[1], tonumber(found[2])
  until line.run ~= run
end

local function is_before(one, other)
  return one.since < other.since or (one.since == other.since and one.run < other.run)
end

-- Goes through who waits for limits of the project, in the one order that all of its lines have. Each of the others keeps
-- a place of each of its limits, if there is one of each, and is told; at its own turns this run takes what is left. So
-- nobody waits for a place that somebody keeps who cannot use it, and two never wait for each other.
local function in_turn(turns, take_places, wake)
  local heads, told = {unpack(turns)}, {}
  for _, set in ipairs(redis.call('SMEMBERS', limit_key(':lines'))) do
    heads[#heads + 1] = {set = set, at = -1}
    next_in(heads[#heads])
  end
  for _ = 1, MOST_VISITS do
    local first
    for _, head in ipairs(heads) do
      if head.run and room_in(head.set) > 0 and (not first or is_before(head, first)) then first = head end
    end
    if not first then return end
    if first.lanes then
      take_places(first)
      first.run = nil
    else
      occupy(first.set, 1)
      if not told[first.run] then wake[#wake + 1] = first.run end
      told[first.run] = true
      next_in(first)
    end
  end
end

local function leave_line(set)
  redis.call('ZREM', limit_key(':line:' .. set), run)
  if redis.call('EXISTS', limit_key(':line:' .. set)) == 0 then redis.call('SREM', limit_key(':lines'), set) end
end

-- Whether a turn of this run waits for a place that another has, and could use it but for what all of its steps share.
local function is_kept_waiting(turn)
  local room = room_in(turn.set)
  if room > 0 or room == -math.huge then return false end
  for _, lane in ipairs(turn.lanes) do
    if lane.waits and room_in(lane.own) > 0 then return true end
  end
  return false
end

-- Whether a step of this run has one of the places that are missing: its end makes room for the next one, too.
local function is_own_wait(turn)
  for limit in each(turn.set) do
    if free(limit) <= 0 and tonumber(redis.call('HGET', cnt, '^' .. limit) or 0) > 0 then return true end
  end
  return false
end

-- The places that a turn leaves of the window, and of `max_parallel`: the last one, to those that wait for longer. Else the
-- many other steps of a run would fill these again and again, and it could take no place that comes free.
local function left_by(turn, turns)
  local left, comes_later = {window = 0, all = 0}, false
  for _, other in ipairs(turns) do
    if other == turn then
      comes_later = true
    elseif is_kept_waiting(other) and (other.since < turn.since or (other.since == turn.since and not comes_later)) then
      left.window = 1
      if not is_own_wait(other) then left.all = 1 end
    end
  end
  return left
end

-- The room for steps of a lane in what all steps of this run share; of a single place none is left to others.
local function room_for_all(lane, ahead, window, left)
  local most = tonumber(string.match(lane.all, ':(%d+)$') or 0)
  return math.min(ahead - (window > 1 and left.window or 0), room_in(lane.all) - (most > 1 and left.all or 0))
end

local function is_in_line(set) return redis.call('ZSCORE', limit_key(':line:' .. set), run) and true or false end

-- Since when this run waits for which limits of the project is kept with it; in their lines it stands while it could use
-- their places: the limits inside it, and its window, have room for a step. Who took a place stands behind all others.
local function stand_in_line(turns, before, room_of)
  local since, able = {}, {}
  for _, turn in ipairs(turns) do
    turn.prompt = turn.prompt or room_in(turn.set) <= 0 -- from now on it takes its place at once
    local left = left_by(turn, turns)
    for _, lane in ipairs(turn.lanes) do
      if lane.waits then
        since[turn.set] = turn.since
        able[turn.set] = able[turn.set] or (room_of(turn, lane, left) > 0 and room_in(lane.own) > 0)
      end
    end
    if able[turn.set] then
      redis.call('ZADD', limit_key(':line:' .. turn.set), string.format('%.0f', turn.since), run)
      redis.call('SADD', limit_key(':lines'), turn.set)
    end
  end
  for set in pairs(before) do
    if not able[set] then leave_line(set) end
  end
  if next(since) then
    redis.call('HSET', lim, '~', cjson.encode(since))
  elseif next(before) then
    redis.call('HDEL', lim, '~')
  end
end

-- The next ready steps, as far as the window has room and their limits leave places; and who else may take places now.
-- Above the low mark (`full`) only who stands in line takes its place, at once: others wait for the next batch.
local function within_limits(window, full, wake)
  local before = cjson.decode(redis.call('HGET', lim, '~') or '{}')
  local nodes, turns, by_set, none = {}, {}, {}, {set = '', since = math.huge, lanes = {}}
  by_set[''] = none
  for _, lane in ipairs(control == 'run' and lanes_in_use() or {}) do
    local turn = by_set[lane.set]
    if not turn then
      local prompt = full and before[lane.set] ~= nil and is_in_line(lane.set)
      turn = {set = lane.set, run = run, since = before[lane.set] or now, lanes = {}, prompt = prompt}
      turns[#turns + 1], by_set[lane.set] = turn, turn
    end
    turn.lanes[#turn.lanes + 1] = lane
  end
  local function room_of(turn, lane, left)
    if full and not turn.prompt then return 0 end
    return room_for_all(lane, window - sent - #nodes, window, left)
  end
  local function take_places(turn)
    local left = left_by(turn, turns)
    for _, lane in ipairs(turn.lanes) do
      local room = math.min(room_of(turn, lane, left), room_in(lane.set), room_in(lane.own))
      local found = room > 0 and redis.call('ZRANGEBYSCORE', ready, lane.from, lane.to, 'LIMIT', 0, room) or {}
      for _, node in ipairs(found) do
        redis.call('ZREM', ready, node)
        nodes[#nodes + 1] = node
      end
      for _, limits in ipairs({lane.set, lane.own, lane.all}) do occupy(limits, #found) end
      if #found > 0 and turn ~= none then
        turn.since = now
        lane.waits = redis.call('ZCOUNT', ready, lane.from, lane.to) > 0
      end
    end
  end
  local waits = #turns > 0 or next(before) ~= nil
  if waits or touched then in_turn(turns, take_places, wake) end
  take_places(none)
  if waits then stand_in_line(turns, before, room_of) end
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
  local full = sent > math.floor(a.low * share)
  local nodes = limited and within_limits(window, full, reply.wake) or popped(full and 0 or window - sent)
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
end

-- Whether more of this run is in flight than its share of a queue for which others wait too.
local function too_many() return share < 1 and sent > math.max(1, math.floor(a.window * share)) end
