"""The life of one step child: made ready, idle until its document comes, one step, gone.

Called by the bundle zygote right after the fork. Never returns. What can be done before the document is there is done
before; modules are imported already, and nothing is cleaned up but what others could see.
"""

from __future__ import annotations

import gc
import os
import socket
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from celesta.errors import CelestaError
from celesta.runtime import enter
from celesta.runtime.call import blank_result
from celesta.runtime.failures import error_document, kind_of
from celesta.runtime.leave import keep
from celesta.runtime.masking import mask_of
from celesta.runtime.processes import adopt_orphans, die_with_parent, name_process
from celesta.runtime.step import perform_step
from celesta.runtime.zygote.rehearsal import rehearse
from celesta.runtime.zygote.slots import Slot
from celesta.runtime.zygote.wire import read_json, receive_bytes, send_bytes, write_json

# The exit status of a child that said all it had to say and left no process behind. An unusual number, so that an
# `os._exit` in a step is not taken for it.
CLEAN = 113


@dataclass(frozen=True)
class Surroundings:
    """What all children of a bundle zygote share."""

    store: Any
    store_url: str
    endpoint_url: str | None
    checkpoints: str
    root: str | None
    freshen: Callable[[], None]


def live(talk: socket.socket, slot: Slot, parent: int, shared: Surroundings, rehearse_first: bool) -> NoReturn:
    """Waits for one step document on `talk`, runs it, says what came of it, and ends the process.

    A rehearsal makes the step quicker where a core is idle meanwhile; where none is, it only costs.
    """
    status = 1
    try:
        os.setsid()
        die_with_parent(parent)
        adopt_orphans()
        name_process("celesta-spare")
        enter.redirect_output(slot.log)
        os.chdir(slot.folder)
        if rehearse_first and not _is_waited_for(talk):
            rehearse(slot.log)
        data = receive_bytes(talk)
        if data is not None:
            name_process("celesta-step")
            _run(read_json(data), talk, slot, shared)
        status = CLEAN
    except OSError:
        """Whoever asked is gone, or the step closed the socket."""
    except BaseException:
        traceback.print_exc()  # A fault of ours: the step's log is where it can be seen.
    finally:
        os._exit(status)


def _is_waited_for(talk: socket.socket) -> bool:
    """Whether the document is there already: then this is no time to rehearse."""
    try:
        talk.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    return True


def _run(envelope: dict[str, Any], talk: socket.socket, slot: Slot, shared: Surroundings) -> None:
    document = envelope["document"]
    try:
        store = _store(document, shared)
    except CelestaError as error:
        result = blank_result(document, envelope["worker"])
        result["error"] = error_document(error, kind_of(error))
        send_bytes(talk, write_json({"result": result, "html": None, "checkpoint": None}))
        return
    shared.freshen()
    gc.enable()
    answer = perform_step(
        document,
        store,
        log=slot.log,
        into=slot.inputs,
        root=shared.root,
        secrets=envelope["secrets"],
        checkpoints=shared.checkpoints,
        worker=envelope["worker"],
    )
    try:
        send_bytes(talk, write_json(answer))
    except OSError:
        mask = mask_of(envelope["secrets"])
        keep(answer, document, store, slot.log, mask)  # Nobody listens, but the work was done.
        raise


def _store(document: dict[str, Any], shared: Surroundings) -> Any:
    if document["store_url"] == shared.store_url:
        return shared.store
    from celesta.store import open_store

    return open_store(document["store_url"], shared.endpoint_url)


def freshener() -> Callable[[], None]:
    """What makes inherited random state as fresh as in a new process; decided once, after the user's imports.

    Python reseeds `random` in each fork by itself. numpy's global generator would be the same in every step, so it is
    seeded anew, unless the user's module seeded it on import: then each step begins with that seed, as it should.
    """
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is None:
        return _nothing
    _, key, position = numpy_random.get_state()[:3]
    # Seeded from the system's entropy and not used since: that is what importing numpy leaves.
    if position == len(key) and key[0] == 0x80000000:
        return numpy_random.seed  # type: ignore[no-any-return]
    return _nothing


def _nothing() -> None:
    """Nothing to freshen."""
