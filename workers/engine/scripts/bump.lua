-- Moves the deadlines of steps that are still in the state the caller saw; answers which, so that one caller acts.
--   steps: {node, state, ms, due}: due asks that the deadline has passed. What has no record (the run itself, and its
--          timeout) is in the state ''
local moved = {}
for _, s in ipairs(a.steps) do
  local score = tonumber(redis.call('ZSCORE', inflight, member(s[1])) or now + 1)
  local r = get(s[1]) or {state = ''}
  if r.state == s[2] and redis.call('ZSCORE', inflight, member(s[1])) and (score <= now or not s[4])
    and (not a.owner or r.owner == a.owner) then
    deadline(s[1], s[3])
    moved[#moved + 1] = s[1]
  end
end
return cjson.encode({status = 'ok', moved = moved})
