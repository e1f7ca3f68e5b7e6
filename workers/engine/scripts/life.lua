-- Notes which Redis this is, by the name that it has from its start on (ARGV[1]). One that was started again, or that took
-- the place of another, may have lost what was answered last, a claim too: then another life begins, and the runs of the
-- last one count as unknown until they are rebuilt. After one that was stopped with nothing at work the last life goes on.
local was = redis.call('HGET', KEYS[1], 'server')
if was == ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'server', ARGV[1])
return was and was ~= 'stopped' and redis.call('HINCRBY', KEYS[1], 'life', 1) or 0
