-- Which process of Redis this is: another value after each start.
local function redis_run_id() return string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') end
