-- Sets what may happen to the run from now on: run, pause or cancel. Cancel is final.
if a.control ~= 'run' and a.control ~= 'pause' and a.control ~= 'cancel' then
  return cjson.encode({status = 'invalid', control = a.control})
end
if control == 'cancel' or over ~= '0' then return cjson.encode({status = 'ok', control = control}) end
redis.call('HSET', meta, 'control', a.control)
return cjson.encode({status = 'ok', control = a.control})
