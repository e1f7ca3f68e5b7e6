-- Says of each attempt whether it may go on, and if so prolongs its lease. A rebuilt run takes back what still lives.
--   steps: {node, token}, owner
local answers = {}
for i, s in ipairs(a.steps) do
  local r = get(s[1])
  local older = tonumber(string.match(s[2], '^%d+')) < tonumber(epoch)
  if r and r.state == 'recovering' and older then
    r.state, r.token, r.owner = 'running', s[2], a.owner
    put(s[1], r)
  end
  if r and r.state == 'running' and r.token == s[2] and r.owner == a.owner then
    deadline(s[1], a.lease)
    answers[i] = control == 'cancel' and 'cancelled' or 'ok'
  elseif older and (not r or r.state == 'asking') then
    answers[i] = 'ok' -- the rebuild has not come to it yet
  else
    answers[i] = 'stale'
  end
end
return cjson.encode({status = 'ok', answers = answers})
