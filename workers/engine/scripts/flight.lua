-- Renews (ARGV[2] = milliseconds) or gives back (no ARGV[2]) the flight of one cache key, if it is still the caller's.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return redis.call('DEL', KEYS[1])
