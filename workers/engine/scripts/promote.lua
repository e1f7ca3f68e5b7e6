-- A deadline has passed (or, with force, what was waited for has happened): whoever is waiting is asked again.
--   steps: nodes, force
local AGAIN = {asking = true, backoff = true, flight_wait = true, recovering = true}
local reply = {status = 'ok', asks = {}}
for _, node in ipairs(a.steps) do
  local score = tonumber(redis.call('ZSCORE', inflight, member(node)) or now + 1)
  local r = get(node)
  if r and (score <= now or a.force) then
    if AGAIN[r.state] then
      if r.state == 'recovering' then r.token = epoch .. '.1' end
      r.state = 'asking'
      put(node, r)
      deadline(node, a.lease)
      reply.asks[#reply.asks + 1] = {node, verdict(node)}
    elseif r.state == 'open' then
      deadline(node, a.lease)
      if gathered(node) then
        reply.asks[#reply.asks + 1] = gather(node)
      elseif not redis.call('HGET', cnt, node .. '#o') and control ~= 'cancel' then
        reply.asks[#reply.asks + 1] = {node, 'reopen'}
      end
    end
  end
end
return cjson.encode(reply)
