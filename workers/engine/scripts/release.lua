-- Gives back steps that were claimed and not begun: to the queue at once, or (delay_ms) to wait for another's result.
--   steps: {node, token}, owner
local reply = {status = 'ok', send = {}}
for _, s in ipairs(a.steps) do
  local r = get(s[1])
  if r and r.state == 'running' and r.token == s[2] and r.owner == a.owner then
    if a.delay_ms then
      r.state, r.owner = 'flight_wait', ''
      put(s[1], r)
      deadline(s[1], a.delay_ms)
    else
      make_ready(s[1], r)
    end
  end
end
admit(reply)
redis.call('HSET', meta, 'sent', sent)
return cjson.encode(reply)
