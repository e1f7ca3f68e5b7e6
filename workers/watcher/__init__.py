"""The watcher: follows the pods of a deployment, keeps their leases, and says when they end.

A role of a server (`celesta server watcher`); of several one leads. It remembers nothing that it could not find again:
a new leader lists all pods, asks Redis which of their attempts are still waited for, and goes on. `watch` has the loop,
`ends` what has ended, `keeping` what goes on, `logs` the live logs that somebody looks at.
"""

from workers.watcher.watch import Watcher, run

__all__ = ["Watcher", "run"]
