"""Specs for tests, made by hand: the compiler must not need the SDK."""

from typing import Any

from celesta.hashing import canonical, digest_of

INT = {"kind": "int"}


def value(number: int) -> dict[str, Any]:
    data = canonical(number)
    return {"value": {"type": "json", "digest": digest_of(data), "size": len(data), "inline": number}}


def task(name: str, inputs: tuple[str, ...] = ("x",), **options: Any) -> dict[str, Any]:
    return {
        "name": name,
        "kind": "python",
        "entrypoint": f"flow:{name}",
        "code_digest": digest_of(name.encode()),
        "interface": {
            "inputs": [{"name": port, "type": INT, "required": True} for port in inputs],
            "outputs": [{"name": "result", "type": INT}],
        },
        "doc": "",
        "source": "",
        "cache": None,
        "retry": {"max": 0, "backoff_seconds": 1.0, "factor": 2.0},
        "timeout_seconds": None,
        "resources": {"cpu": 1.0, "memory_bytes": None, "gpu": 0},
        "env": {},
        "secrets": [],
        "executor": None,
        "image": None,
        "labels": {},
        **options,
    }


def step(path: str, name: str | None = None, **fields: Any) -> dict[str, Any]:
    return {
        "path": path,
        "task": name or path.split("#")[0],
        "inputs": {},
        "map": None,
        "after": [],
        "options": {},
    } | fields


def question(
    path: str, kind: str = "approve", wanted: dict[str, Any] | None = None, timeout: float | None = None, **answer: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A task that asks, and the step of it."""
    asks = task(f"{kind} {path}", (), kind=kind, entrypoint=f"celesta.waits:{kind}")
    asks["interface"] = {
        "inputs": [{"name": "message", "type": {"kind": "str"}, "required": True}],
        "outputs": [{"name": "result", "type": wanted or {"kind": "bool"}}],
    }
    told = {"role": "editor", "required": False, "default": None} | answer
    options = {"timeout_seconds": timeout, "answer": told}
    return asks, step(path, asks["name"], inputs={"message": text(f"{path}?")}, options=options)


def nap(path: str, seconds: float) -> tuple[dict[str, Any], dict[str, Any]]:
    """A task that sleeps, and the step of it."""
    sleeps = task("sleep", (), kind="sleep", entrypoint="celesta.waits:sleep")
    port = {"name": "seconds", "type": {"kind": "float"}, "required": True}
    sleeps["interface"] = {"inputs": [port], "outputs": []}
    data = canonical({"f": seconds.hex()})
    length = {"type": "json", "digest": digest_of(data), "size": len(data), "inline": {"f": seconds.hex()}}
    return sleeps, step(path, "sleep", inputs={"seconds": {"value": length}})


def text(given: str) -> dict[str, Any]:
    data = canonical(given)
    return {"value": {"type": "json", "digest": digest_of(data), "size": len(data), "inline": given}}


def spec(tasks: list[dict[str, Any]], steps: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    return {
        "celesta": 1,
        "name": "flow",
        "doc": "",
        "interface": {"inputs": [], "outputs": []},
        "bundle": None,
        "python": "3.11",
        "git": None,
        "tasks": {one["name"]: one for one in tasks},
        "steps": steps,
        "outputs": {},
    } | fields


def output(path: str) -> dict[str, Any]:
    return {"step": path, "output": "result"}


def diamond(**fields: Any) -> dict[str, Any]:
    """a -> b, c -> d; d also takes a constant."""
    steps = [
        step("d", inputs={"x": output("b"), "y": output("c"), "z": value(7)}),
        step("b", inputs={"x": output("a")}),
        step("c", inputs={"x": output("a")}),
        step("a", inputs={"x": {"input": "n"}}),
    ]
    interface = {
        "inputs": [{"name": "n", "type": INT, "required": True}],
        "outputs": [{"name": "result", "type": INT}],
    }
    tasks = [task("a"), task("b"), task("c"), task("d", ("x", "y", "z"))]
    return spec(tasks, steps, interface=interface, outputs={"result": output("d")}, **fields)


def wide(count: int) -> dict[str, Any]:
    """`count` steps in 50 layers; each takes two of the layer before."""
    layer = max(1, count // 50)
    steps = []
    for index in range(count):
        above = [f"work#{index - layer + 1}", f"work#{max(1, index - layer)}"] if index > layer else []
        inputs = {"x": output(above[0]), "y": output(above[1])} if above else {"x": value(index), "y": value(1)}
        steps.append(step(f"work#{index + 1}", inputs=inputs))
    return spec([task("work", ("x", "y"), cache=CACHE)], steps)


CACHE = {"version": None, "ignore": [], "environment": False, "ttl_seconds": None, "scope": "project"}


def taker(kind: dict[str, Any] | None = None) -> dict[str, Any]:
    """A workflow that is given anything, or a value of this type."""
    interface = {"inputs": [{"name": "data", "type": kind or {"kind": "any"}, "required": True}], "outputs": []}
    takes = task("take", ("data",), interface=interface)
    return spec([takes], [step("take", inputs={"data": {"input": "data"}})], name="taker", interface=interface)
