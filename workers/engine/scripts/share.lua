-- Sets which part of the queue is the run's while others wait too: `share`, from 0 (nothing now) to below 1; none: all.
if a.share then
  redis.call('HSET', meta, 'share', a.share)
else
  redis.call('HDEL', meta, 'share')
end
return cjson.encode({status = 'ok'})
