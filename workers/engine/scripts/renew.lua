-- Says of each attempt whether it may go on, and if so prolongs its lease. A rebuilt run takes back what still lives.
--   steps: {node, token}, owner
local answers = {}
for i, s in ipairs(a.steps) do
  local r = get(s[1])
  if r and r.state == 'recovering' and tonumber(string.match(s[2], '^%d+')) < tonumber(epoch) then
    r.state, r.token, r.owner = 'running', s[2], a.owner
    put(s[1], r)
  end
  if r and r.state == 'running' and r.token == s[2] and r.owner == a.owner then
    deadline(s[1], a.lease)
    answers[i] = control == 'cancel' and 'cancelled' or 'ok'
  else
    answers[i] = 'stale'
  end
end
return cjson.encode({status = 'ok', answers = answers})
