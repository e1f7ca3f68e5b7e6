-- Sets what may happen to the run from now on: run, pause or cancel. Cancel is final. A run that is being rebuilt is ended
-- once that is through: until then nothing begins, and whoever asks comes again.
--   cause: why a cancelled run has failed, instead of being cancelled by a person   error: what it then says
if a.control ~= 'run' and a.control ~= 'pause' and a.control ~= 'cancel' then
  return cjson.encode({status = 'invalid', control = a.control})
end
if walking and over == '0' and control ~= 'cancel' and a.control == 'cancel' then
  if not a.cause then redis.call('HSET', meta, 'control', 'pause') end
  return cjson.encode({status = 'rebuilding'})
end
-- A run that is cancelled takes no longer than it may: from then on it is watched by its own deadline.
if a.control == 'cancel' or control == 'cancel' or over ~= '0' then redis.call('ZREM', inflight, member('@timeout')) end
if control == 'cancel' or over ~= '0' then
  -- The engine ends a run that failed: what a person says meanwhile holds for the steps that run on failure.
  local failed = redis.call('HMGET', meta, 'error', 'handled')
  if failed[1] and not failed[2] and not a.cause then redis.call('HSET', meta, 'asked', a.control) end
  return cjson.encode({status = 'ok', control = control})
end
redis.call('HSET', meta, 'control', a.control)
if a.control == 'cancel' then
  if a.cause then
    redis.call('HSET', meta, 'cause', a.cause, 'asked', control)
    redis.call('HSETNX', meta, 'error', a.error)
  end
  deadline('', a.lease) -- under which what waits is cancelled, should the caller die before
end
return cjson.encode({status = 'ok', control = a.control})
