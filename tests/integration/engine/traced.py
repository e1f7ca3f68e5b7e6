"""What dynamic steps of these tests trace: specs made by hand, since the engine must not need the SDK."""

from typing import Any

from tests.integration.engine.harness import ANY, Traced, value
from tests.unit.app.specs import spec, step, task

OUTPUT = {"inputs": [], "outputs": [{"name": "result", "type": ANY}]}


def known(name: str, *inputs: str, **options: Any) -> dict[str, Any]:
    interface = {
        "inputs": [{"name": port, "type": ANY, "required": True} for port in inputs],
        "outputs": [{"name": "result", "type": ANY}],
    }
    return task(name, interface=interface, **options)


def of(path: str) -> dict[str, Any]:
    return {"step": path, "output": "result"}


def traced(tasks: list[dict[str, Any]], steps: list[dict[str, Any]], result: str) -> Traced:
    return Traced(spec(tasks, steps, interface=OUTPUT, outputs={"result": of(result)}))


def doubled(xs: list[int]) -> Traced:
    """total(double(x) for x in xs)."""
    steps = [step(f"double#{i}", "double", inputs={"x": value(x)}) for i, x in enumerate(xs)]
    join = step("total", inputs={"items": {"list": [of(one["path"]) for one in steps]}})
    return traced([known("double", "x"), known("total", "items")], [*steps, join], "total")


def limited(xs: list[int]) -> Traced:
    """Each doubled, on a limit of the project; then all of them once more, two at a time."""
    steps = [
        step(f"double#{i}", "double", inputs={"x": value(x)}, options={"limits": ["gpu"]}) for i, x in enumerate(xs)
    ]
    gathered = {"list": [of(one["path"]) for one in steps]}
    again = step("again", "double", inputs={"x": gathered}, map=["x"], options={"concurrency": 2})
    join = step("total", inputs={"items": of("again")})
    return traced([known("double", "x"), known("total", "items")], [*steps, again, join], "total")


def countdown(n: int) -> Any:
    """One more than itself, n times over."""
    if n == 0:
        return 0
    steps = [
        step("countdown", inputs={"n": value(n - 1)}),
        step("add", inputs={"a": of("countdown"), "b": value(1)}),
    ]
    return traced([known("countdown", "n", kind="dynamic"), known("add", "a", "b")], steps, "add")


def endless(n: int) -> Traced:
    return traced([known("endless", "n", kind="dynamic")], [step("endless", inputs={"n": value(n)})], "endless")


def broken(xs: list[int]) -> Traced:
    steps = [step("double", inputs={"x": value(1)}), step("fail", inputs={"x": value(2)})]
    return traced([known("double", "x"), known("fail", "x")], steps, "fail")


def broken_map(xs: list[int]) -> Traced:
    return traced([known("fail", "x")], [step("fail", inputs={"x": value([2, 3])}, map=["x"])], "fail")


def wrong(xs: list[int]) -> Traced:
    return Traced(spec([], [step("nothing")], interface=OUTPUT, outputs={}))


def referring(xs: list[int]) -> Traced:
    """What `reference()` leaves in a spec until it is registered."""
    call = {name: part for name, part in step("score").items() if name in ("path", "inputs", "after")}
    return Traced(spec([], [call | {"reference": "team/score@v2"}], interface=OUTPUT, outputs={"result": of("score")}))


def borrowed(xs: list[int]) -> Traced:
    """A step that would run code of others."""
    return traced([known("double", "x", bundle="0" * 64)], [step("double", inputs={"x": value(1)})], "double")


def burst(x: int) -> Any:
    """Maps inside; fails when x is even and above 3; calls nothing when x is 3 or less."""
    if x <= 3:
        return x
    steps = [
        step("odd", inputs={"x": value(x)}),
        step("double", inputs={"x": {"list": [value(1), of("odd")]}}, map=["x"]),
        step("total", inputs={"items": of("double")}),
    ]
    return traced([known("odd", "x"), known("double", "x"), known("total", "items")], steps, "total")


FUNCTIONS = {
    "doubled": doubled,
    "limited": limited,
    "countdown": countdown,
    "endless": endless,
    "broken": broken,
    "broken_map": broken_map,
    "wrong": wrong,
    "referring": referring,
    "borrowed": borrowed,
    "burst": burst,
    "same": lambda xs: sum(xs),
}
