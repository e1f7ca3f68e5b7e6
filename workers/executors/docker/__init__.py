"""Steps in containers of Docker or Podman on the worker's host.

`executor` makes the container of an attempt, `staging` the folder that it mounts; `running` follows it to its end, and
`engine` is what is asked of the engine besides.
"""
