"""A step that nobody asked for, run so that the next one is quick.

A forked process pays for each page of memory when it first writes to it, and Python writes wherever it looks (counts of
references, counters of hot code). So a zygote runs this step often enough that its code is warm before it forks, and
each child runs it once while it waits for its document. Nothing of it is stored or shown.
"""

from __future__ import annotations

import json
import os

from celesta.runtime import context
from celesta.runtime.step import perform_step
from celesta.runtime.zygote.wire import read_json, write_json

_WARM_AFTER = 20

_INT = {"kind": "int"}
_DOCUMENT = json.dumps(
    {
        "run": "rehearsal",
        "node": "0",
        "path": "rehearsal",
        "token": "1.1",
        "attempt": 1,
        "idempotency_key": "rehearsal",
        "entrypoint": f"{__name__}:play",
        "interface": {"inputs": [{"name": "n", "type": _INT}], "outputs": [{"name": "result", "type": _INT}]},
        "inputs": {"n": {"type": "json", "digest": "", "size": 1, "inline": 1}},
    }
).encode()


def play(n: int) -> int:
    """The body of the step."""
    return n


def rehearse(log: int) -> None:
    """Runs the step once; `log` is an empty one."""
    write_json(
        perform_step(read_json(_DOCUMENT), None, log=log, into="", root=None, secrets={}, checkpoints="", worker="")
    )
    context.own_process(None)


def warm_up() -> None:
    """Runs the step as often as the interpreter wants to see code before it calls it hot."""
    log = os.open(os.devnull, os.O_RDONLY)
    for _ in range(_WARM_AFTER):
        rehearse(log)
    os.close(log)
