"""Steps that run when a run has failed: begun where it would end, which it then does when they have.

`finishing` calls it, as often as it likes. In a rebuilt run they may have run already, so that they are looked for
before they are sent, as any step there: among what the rebuild found, and in the store.
"""

import json
from collections.abc import Mapping
from typing import Any

from celesta.codecs import encode
from workers.engine.cascade import Cascade
from workers.engine.core import Engine
from workers.engine.settling import Adopted
from workers.engine.views import View
from workers.engine.waiting import Waits

TYPE = {"kind": "any"}


def handle(engine: Engine, view: View, error: dict[str, Any], adopted: Mapping[str, Adopted], waits: Waits) -> bool:
    """Tells them of the failure, and begins those that wait for no other. True: the run is over, since all have ended.

    That they are to be asked, or sent, is kept with their being known: whoever dies in between loses none of them.
    """
    plan = view.plan
    told: dict[str, Any] = {"run": view.run, "project": view.project, "workflow": plan.workflow}
    told |= {name: error.get(name) for name in ("path", "type", "message", "kind")}
    roots = [index for index in plan.handlers if not plan.parents[index]]
    cascade = Cascade(engine, view, adopted, waits, hold=view.rebuilt)
    cascade.admits += [_admission(cascade, index) for index in roots]
    cascade.flush(handle=len(plan.handlers), failure=json.dumps({"failure": encode(told, TYPE, engine.store)}))
    return cascade.run()


def _admission(cascade: Cascade, index: int) -> dict[str, Any]:
    entry = cascade.admission(str(index))
    return entry | {"ask": True} if cascade.view.root.asks(index) else entry
