-- Makes a run known: its meta, and a deadline under which the opening of its roots is watched. Twice is once.
--   lead (of a rebuild): who rebuilds the run. While one does, nobody else makes it known: what was accepted meanwhile
--           would be unknown to the results that the rebuild has read
--   limits (when a step has any): step -> lane, '*' -> the lane of the others, '#<lane>' -> its limits, '=<limits>' -> their
--           lane, '#' -> the last lane
local inflight, events, marks, meta, st, out, cnt, ready, lim = unpack(KEYS)
local a = cjson.decode(ARGV[1])
for _, field in ipairs({'run', 'project', 'plan', 'inputs', 'options', 'started', 'control'}) do
  if type(a[field]) ~= 'string' then return cjson.encode({status = 'invalid', field = field}) end
end
if redis.call('HEXISTS', marks, 'server') == 0 then return cjson.encode({status = 'unmarked'}) end
local epoch = redis.call('HGET', meta, 'epoch')
if epoch then return cjson.encode({status = 'exists', epoch = tonumber(epoch)}) end
local lead = redis.call('GET', (string.gsub(meta, 'meta$', 'rebuild'))) or nil
if lead ~= a.lead then return cjson.encode({status = 'superseded'}) end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', meta, 'epoch', a.epoch, 'control', a.control, 'sent', 0, 'known', a.known, 'settled', 0, 'over', 0,
  'opening', 1, 'rebuilt', a.rebuilt, 'project', a.project, 'plan', a.plan, 'inputs', a.inputs, 'options', a.options)
local life = redis.call('HGET', marks, 'life')
if life then redis.call('HSET', meta, 'life', life) end
if a.limits then
  redis.call('HSET', meta, 'limited', 1)
  for field, value in pairs(a.limits) do redis.call('HSET', lim, field, value) end
end
redis.call('ZADD', inflight, string.format('%.0f', now + a.lease), a.run .. '|')
if a.timeout_ms then redis.call('ZADD', inflight, string.format('%.0f', now + a.timeout_ms), a.run .. '|@timeout') end
redis.call('XADD', events, '*', 'e', string.format('%s,"at_ms":%.0f,"epoch":%d}', a.started, now, a.epoch))
return cjson.encode({status = 'ok', epoch = a.epoch})
