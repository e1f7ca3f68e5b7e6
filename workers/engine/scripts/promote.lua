-- A deadline has passed (or what was waited for in a state `at_once` has happened): whoever is waiting is asked again.
--   steps: nodes, at_once: states
local AGAIN = {asking = true, backoff = true, flight_wait = true, recovering = true}
local AT_ONCE = {}
for _, state in ipairs(a.at_once or {}) do AT_ONCE[state] = true end
local reply = {status = 'ok', asks = {}}
for _, node in ipairs(a.steps) do
  local score = tonumber(redis.call('ZSCORE', inflight, member(node)) or now + 1)
  local r = get(node)
  if r and (score <= now or AT_ONCE[r.state]) then
    if AGAIN[r.state] then
      if r.state == 'recovering' then r.token = epoch .. '.' .. attempt_of(r.token) + 1 end
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
