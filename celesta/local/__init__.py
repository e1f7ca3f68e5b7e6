"""Runs a workflow in this process, without any server: `celesta run … --local`.

`launch` looks at what is given (`checks`) and begins a `run`; `scope` is one DAG of it, `steps` and `child` run a step,
`failures` tells what failed it, `cache` is this home's index and `explain` reads it.

The keys, the codecs, the step contract and the result documents are those of a server's run; the index of the cache,
the store and the records of runs are this home's own. Steps run one after the other, in the order of the spec, each as
soon as its own upstreams are done, in this process; one that has only so much time runs in a child of it. `resources`
are left to servers, and a step that kills this process ends the run; one with a timeout kills its child, and fails.
"""

from celesta.local.launch import local_store, run_local
from celesta.local.run import LocalRun

__all__ = ["LocalRun", "local_store", "run_local"]
