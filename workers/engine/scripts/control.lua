-- Sets what may happen to the run from now on: run, pause or cancel. Cancel is final.
--   cause: why a cancelled run has failed, instead of being cancelled by a person   error: what it then says
if a.control ~= 'run' and a.control ~= 'pause' and a.control ~= 'cancel' then
  return cjson.encode({status = 'invalid', control = a.control})
end
-- A run that is cancelled takes no longer than it may: from then on it is watched by its own deadline.
if a.control == 'cancel' or control == 'cancel' or over ~= '0' then redis.call('ZREM', inflight, member('@timeout')) end
if control == 'cancel' or over ~= '0' then return cjson.encode({status = 'ok', control = control}) end
redis.call('HSET', meta, 'control', a.control)
if a.control == 'cancel' then
  if a.cause then
    redis.call('HSET', meta, 'cause', a.cause)
    redis.call('HSETNX', meta, 'error', a.error)
  end
  deadline('', a.lease) -- under which what waits is cancelled, should the caller die before
end
return cjson.encode({status = 'ok', control = a.control})
