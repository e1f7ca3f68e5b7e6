-- Takes what is left of a run that Redis does not know out of the flight: a rebuild puts in what it needs.
local run = cjson.decode(ARGV[1]).run
local known = redis.call('HMGET', KEYS[4], 'epoch', 'life')
if known[1] and known[2] == redis.call('HGET', KEYS[3], 'life') then return cjson.encode({status = 'exists'}) end
for _, node in ipairs(cjson.decode(ARGV[1]).steps) do redis.call('ZREM', KEYS[1], run .. '|' .. node) end
return cjson.encode({status = 'ok'})
