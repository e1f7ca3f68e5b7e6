"""Steps that run when a run has failed: begun where it would end, which it then does when they have.

`finishing` calls it, as often as it likes. In a rebuilt run they may have run already, so that they are looked for
before they are sent, as any step there.
"""

import json
from typing import Any

from celesta.codecs import encode
from workers.engine.advancing import admission, advance
from workers.engine.core import Engine
from workers.engine.views import View

TYPE = {"kind": "any"}


def handle(engine: Engine, view: View, error: dict[str, Any]) -> None:
    """Tells them of the failure, and sends those that wait for no other."""
    plan = view.plan
    told: dict[str, Any] = {"run": view.run, "project": view.project, "workflow": plan.workflow}
    told |= {name: error.get(name) for name in ("path", "type", "message", "kind")}
    roots = [index for index in plan.handlers if not plan.parents[index]]
    reply = advance(
        engine,
        view,
        [],
        [admission(view, str(index), hold=view.rebuilt) for index in roots],
        handle=len(plan.handlers),
        failure=json.dumps({"failure": encode(told, TYPE, engine.store)}),
    )
    engine.publish(view.run, reply.get("send") or [])
