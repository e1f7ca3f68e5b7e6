"""Results of an earlier run that a new one takes over: laid beside the new run before it begins, by the steps' paths.

`starting` fills them in from the database, the cascade settles steps by them as they become ready. By path, since a
part that is made at run time need not get the nodes that it had. `app.compiler.again` says which steps are left out.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING

from app.compiler.again import affected
from app.compiler.plan import Plan
from workers.engine import keys
from workers.engine.core import CHUNK, Engine
from workers.engine.settling import Adopted
from workers.engine.views import View

if TYPE_CHECKING:
    from workers.engine.source import Source


def take_over(engine: Engine, source: "Source", plan: Plan) -> None:
    """Lays out what the run may take over. Twice is once; a run without an origin costs nothing."""
    if source.reusable is None:
        return
    anew = {*affected(plan, source.options.get("again", ()), source.options.get("changed", ())), *plan.handlers}
    kept = ((path, json.dumps(asdict(found))) for node, path, found in source.reusable() if _top(node) not in anew)
    while part := dict(islice(kept, CHUNK)):
        engine.client.hset(keys.reuse(source.run), mapping=part)


def reusable(engine: Engine, view: View, nodes: Sequence[str]) -> dict[str, Adopted]:
    """What the run takes over for these steps, in one round trip."""
    if not nodes:
        return {}
    found = engine.client.hmget(keys.reuse(view.run), [view.path(node) for node in nodes])
    return {node: Adopted(**json.loads(text)) for node, text in zip(nodes, found, strict=True) if text}


def _top(node: str) -> int:
    """The index, in the run's own plan, of the step that this node is or is below of."""
    return int(node.partition("/")[0].partition(".")[0])
