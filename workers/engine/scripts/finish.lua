-- Says once that the run is over. The run's keys stay until the recorder has committed its end.
if over ~= '1' then return cjson.encode({status = 'ok', over = over, done = false}) end
redis.call('HSET', meta, 'over', 2)
redis.call('ZREM', inflight, member(''), member('@timeout'))
emit(a.finished)
return cjson.encode({status = 'ok', over = '2', done = true})
