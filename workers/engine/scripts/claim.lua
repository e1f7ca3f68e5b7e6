-- Takes sent steps for one worker: whoever comes first with the attempt that was sent. Tops up what is published.
--   steps: {n node, attempt, e event}   parents: nodes whose outcomes the claimer needs
-- Returns the verdicts as JSON (`ran_out`: attempts that ran out of memory, of steps that were retried), followed by the outcomes of `parents` in their order.
local reply = {status = 'ok', epoch = tonumber(epoch), control = control, steps = {}, send = {}, ran_out = {}}
for _, s in ipairs(a.steps) do
  if type(s.n) ~= 'string' or type(s.attempt) ~= 'number' or type(s.e) ~= 'string' then
    return cjson.encode({status = 'invalid', node = s.n})
  end
end
local seq = 0
for i, s in ipairs(a.steps) do
  local r = get(s.n)
  reply.steps[i] = false
  if r and r.state == 'sent' and attempt_of(r.token) == s.attempt then
    seq = math.max(seq, tonumber(r.seq))
    if control == 'run' and not too_many() then
      take(s.n, r, a.owner, s.e)
      reply.steps[i] = r.token
      if r.used ~= '' then reply.ran_out[s.n] = spent(r, 'out_of_memory') end
    elseif control ~= 'cancel' then -- paused, or sent before others came to share the queue; else it is settled soon
      sent = sent - 1
      make_ready(s.n, r)
    end
  end
end
if seq > tonumber(redis.call('HGET', marks, 'claimed') or 0) then redis.call('HSET', marks, 'claimed', seq) end
admit(reply)
redis.call('HSET', meta, 'sent', sent)
local answer = {cjson.encode(reply)}
for i, node in ipairs(a.parents) do answer[i + 1] = redis.call('HGET', out, node) end
return answer
