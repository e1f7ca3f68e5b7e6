-- Steps that were sent and not claimed in time: sent again when their message must be gone, else waited for on.
--   steps: nodes, empty (nothing waits in the queue)
-- Gone: the queue is empty, or a message that was sent later has been claimed. A wrong guess dies at the claim.
local reply = {status = 'ok', send = {}}
local claimed = tonumber(redis.call('HGET', marks, 'claimed') or 0)
for _, node in ipairs(a.steps) do
  local r = get(node)
  local score = tonumber(redis.call('ZSCORE', inflight, member(node)) or now + 1)
  if r and r.state == 'sent' and score <= now then
    deadline(node, a.grace)
    if control == 'run' and (a.empty or claimed > tonumber(r.seq)) then
      r.seq = redis.call('HINCRBY', marks, 'sent', 1)
      put(node, r)
      reply.send[#reply.send + 1] = {node, attempt_of(r.token)}
    end
  end
end
return cjson.encode(reply)
