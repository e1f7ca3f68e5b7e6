"""Events as the engine makes them, for tests of what is folded from them."""

from dataclasses import dataclass, field
from typing import Any

from celesta.hashing import digest_of

EPOCH_MS = 1_790_000_000_000


def ref(number: int) -> dict[str, Any]:
    return {"type": "json", "digest": digest_of(str(number).encode()), "size": 1, "inline": number}


@dataclass
class Emitter:
    """Makes the events of one run, each a millisecond after the last."""

    run: str
    epoch: int = 1
    events: list[dict[str, Any]] = field(default_factory=list)

    def add(self, kind: str, **fields: Any) -> dict[str, Any]:
        at_ms = EPOCH_MS + len(self.events)
        event = {"kind": kind, "run": self.run, "project": "default", "at_ms": at_ms, "epoch": self.epoch, **fields}
        self.events.append(event)
        return event

    def started(self, known: int = 1) -> dict[str, Any]:
        return self.add("run.started", known=known)

    def running(self, node: str, attempt: int = 1) -> dict[str, Any]:
        token = f"{self.epoch}.{attempt}"
        return self.add("step.running", node=node, path=_path(node), token=token, attempt=attempt, worker="host:1")

    def retry(self, node: str, attempt: int = 1, reason: str = "user") -> dict[str, Any]:
        error = None if reason == "lost" else _error(reason)
        token = f"{self.epoch}.{attempt}"
        return self.add(
            "step.retry",
            node=node,
            path=_path(node),
            token=token,
            reason=reason,
            error=error,
            next_attempt=attempt + 1,
            at_or_after_ms=0,
        )

    def opened(self, node: str, width: int) -> dict[str, Any]:
        return self.add("map.opened", node=node, path=_path(node), width=width, known=width + 1)

    def settled(self, node: str, state: str = "succeeded", attempt: int = 1, **fields: Any) -> dict[str, Any]:
        ran = state in ("succeeded", "failed", "cached")
        failed = state == "failed"
        outcome = {
            "status": "failed" if failed else "succeeded",
            "outputs": {} if failed else {"result": ref(int(node.replace(".", "")))},
            "error": _error("user") if failed else None,
            "metrics": [{"name": "loss", "value": 0.5, "step": None, "at_ms": EPOCH_MS}],
            "report": False,
            "log_bytes": 7,
            "timings": {"started_ms": EPOCH_MS, "finished_ms": EPOCH_MS + 5},
            "worker": "host:1",
        }
        return self.add(
            "step.settled",
            **{
                "node": node,
                "path": _path(node),
                "token": f"{self.epoch}.{attempt}" if ran else None,
                "attempt": attempt if ran else 0,
                "state": state,
                "outcome": outcome if ran else None,
                "cache_key": None,
                "components": None,
                "source": {"run": "r0", "path": "t", "node": "0", "token": "1.1"} if state == "cached" else None,
                "input_digests": {"x": digest_of(b"x")} if ran else None,
            }
            | ({"left": f"{self.epoch}.{attempt}"} if state == "cancelled" else {})
            | fields,
        )

    def finished(self, status: str = "succeeded", **counts: int) -> dict[str, Any]:
        zero = dict.fromkeys(("total", "succeeded", "cached", "failed", "skipped", "cancelled"), 0)
        return self.add("run.finished", status=status, outputs={"result": ref(1)}, error=None, counts=zero | counts)


def _path(node: str) -> str:
    index, _, item = node.partition(".")
    return f"t#{int(index) + 1}" + (f"[{item}]" if item else "")


def _error(kind: str) -> dict[str, Any]:
    return {"type": "ValueError", "message": "no\0good \ud800", "traceback": "…", "kind": kind}
