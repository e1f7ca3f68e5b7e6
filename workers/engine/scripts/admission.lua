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
      most = redis.call('HGET', limit_key(''), string.sub(limit, 2))
      places[limit] = tonumber(most or 0) - redis.call('SCARD', limit_key(':' .. limit))
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
-- limits, `set` are the project's and `own` are inside the run.
local function lanes_in_use()
  local lanes, top = {}, '+inf'
  while true do
    local last = redis.call('ZREVRANGEBYSCORE', ready, top, '-inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
    if not last then return lanes end
    local number = math.floor(tonumber(last) / LANE)
    local set, own = {}, {}
    for limit in each(limits_of(number)) do table.insert(string.sub(limit, 1, 1) == '@' and set or own, limit) end
    lanes[#lanes + 1] = {
      from = string.format('%.0f', number * LANE), to = string.format('(%.0f', (number + 1) * LANE),
      set = table.concat(set, ','), own = table.concat(own, ','),
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

-- Since when this run waits for which limits of the project is kept with it; in their lines it stands while it could use
-- their places: the limits inside it, and its window, have room for a step. Who took a place stands behind all others.
local function stand_in_line(turns, before, room)
  local since, able = {}, {}
  for _, turn in ipairs(turns) do
    for _, lane in ipairs(turn.lanes) do
      if redis.call('ZCOUNT', ready, lane.from, lane.to) > 0 then
        since[turn.set] = turn.since
        able[turn.set] = able[turn.set] or (room > 0 and room_in(lane.own) > 0)
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

-- The next ready steps, at most so many, as far as their limits leave places; and who else may take places now.
local function within_limits(most, wake)
  local before = cjson.decode(redis.call('HGET', lim, '~') or '{}')
  local nodes, turns, by_set = {}, {}, {}
  for _, lane in ipairs(control == 'run' and lanes_in_use() or {}) do
    local turn = by_set[lane.set] or {set = lane.set, run = run, since = before[lane.set] or now, lanes = {}}
    if not by_set[lane.set] and lane.set ~= '' then turns[#turns + 1] = turn end
    by_set[lane.set] = turn
    turn.lanes[#turn.lanes + 1] = lane
  end
  local function take_places(turn)
    for _, lane in ipairs(turn.lanes) do
      local room = math.min(most - #nodes, room_in(lane.set), room_in(lane.own))
      local found = room > 0 and redis.call('ZRANGEBYSCORE', ready, lane.from, lane.to, 'LIMIT', 0, room) or {}
      for _, node in ipairs(found) do
        redis.call('ZREM', ready, node)
        nodes[#nodes + 1] = node
      end
      occupy(lane.set, #found)
      occupy(lane.own, #found)
      if #found > 0 then turn.since = now end
    end
  end
  local waits = #turns > 0 or next(before) ~= nil
  if waits or touched then in_turn(turns, take_places, wake) end
  if by_set[''] then take_places(by_set['']) end
  if waits then stand_in_line(turns, before, most - #nodes) end
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
  local nodes = limited and within_limits(room, reply.wake) or popped(room)
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
