-- Says of each attempt whether it may go on, and if so prolongs its lease. A rebuilt run takes back what still lives.
--   steps: {node, token}, owner, state: 'running' (a worker's own; the default) or 'external' (launched by an executor,
--   who takes it over from the worker that launched it, also when that one died before it could say so)
local held = a.state or 'running'
if held ~= 'running' and held ~= 'external' then return cjson.encode({status = 'invalid', state = held}) end
local answers = {}
local going_on = control == 'cancel' and 'cancelled' or 'ok'
for i, s in ipairs(a.steps) do
  local r = get(s[1])
  local older = tonumber(string.match(s[2], '^%d+')) < tonumber(epoch)
  local launched = held == 'external' and r and r.state == 'running' and r.token == s[2]
  if launched or (older and is_held_for(r, s[2])) then
    r.state, r.token, r.owner, r.seq = held, s[2], a.owner, 1
    put(s[1], r)
  end
  if r and r.state == held and r.token == s[2] and r.owner == a.owner then
    deadline(s[1], a.lease)
    answers[i] = going_on
  elseif r and r.state == 'external' and r.token == s[2] then
    answers[i] = going_on -- its executor keeps it
  elseif older and (not r or r.state == 'asking') then
    answers[i] = 'ok' -- the rebuild has not come to it yet
  else
    answers[i] = 'stale'
  end
end
return cjson.encode({status = 'ok', answers = answers})
