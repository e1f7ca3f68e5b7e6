"""Compiles a spec into the immutable plan of chords that the engine runs.

`app.services.version_register` calls `app.compiler.schema.load_spec`, which refuses what cannot run, and then
`compile_plan`, once per version. The same spec always gives the same plan, byte for byte.
"""

from typing import Any

from app.compiler.bindings import resolve
from app.compiler.in_place import kind_of, task_of
from celesta.hashing import interface_digest
from celesta.spec import spec_digest

Document = dict[str, Any]
RUN_OPTIONS = ("timeout_seconds", "policy", "max_parallel")
STEP_OPTIONS = ("retry", "timeout_seconds", "cache", "resources", "env", "secrets", "executor", "image", "labels")
RARE_OPTIONS = ("pod_template", "interruptible", "limits", "concurrency")
"""Options that a plan has only where they were given."""


def compile_plan(spec: Document) -> Document:
    """The plan of a valid spec (`docs/contracts.md` section 5)."""
    names = sorted(spec["tasks"])
    tasks = [_task(spec["tasks"][name]) for name in names]
    task_index = {name: index for index, name in enumerate(names)}
    index_of = {step["path"]: index for index, step in enumerate(spec["steps"])}
    steps = [
        _step(step, tasks, task_index, index_of) if kind_of(step) is None else _in_place(step, tasks, index_of)
        for step in spec["steps"]
    ]
    for index, step in enumerate(steps):
        for parent in step["parents"]:
            steps[parent]["children"].append(index)
    return {name: spec[name] for name in RUN_OPTIONS if name in spec} | {
        "plan": 1,
        "workflow": spec["name"],
        "version": spec_digest(spec),
        "bundle": spec["bundle"],
        "interface": spec["interface"],
        "outputs": {name: resolve(binding, index_of, set()) for name, binding in spec["outputs"].items()},
        "tasks": tasks,
        "steps": steps,
        "roots": [index for index, step in enumerate(steps) if not step["parents"] and "on_failure" not in step],
        "chords": [
            {"body": index, "header": step["parents"]} for index, step in enumerate(steps) if len(step["parents"]) > 1
        ],
    }


def _task(task: Document) -> Document:
    return task | {"interface_digest": interface_digest(task["interface"])}


def _step(step: Document, tasks: list[Document], task_index: dict[str, int], index_of: dict[str, int]) -> Document:
    task = task_index[step["task"]]
    parents: set[int] = set()
    common = _common(step, index_of, parents)
    options = {name: tasks[task].get(name) for name in STEP_OPTIONS} | (step.get("options") or {})
    options = {name: tasks[task][name] for name in RARE_OPTIONS if name in tasks[task]} | options
    handles = {"on_failure": True} if step.get("on_failure") else {}
    return {
        "path": step["path"],
        "task": task,
        "map": step.get("map"),
        "parents": sorted(parents),
        "children": [],
        **handles,
        **common,
        **options,
    }


def _in_place(step: Document, tasks: list[Document], index_of: dict[str, int]) -> Document:
    """A branch or a merge. Its task is put behind those of the spec."""
    parents: set[int] = set()
    common = _common(step, index_of, parents)
    made = _task(task_of(step))
    if made not in tasks:
        tasks.append(made)
    if "merge" in step:
        decides: Document = {"merge": index_of[step["merge"]]}
        parents.add(decides["merge"])
    else:
        decides = {"branch": step["branch"]}
    return {
        "path": step["path"],
        "task": tasks.index(made),
        "map": None,
        "parents": sorted(parents),
        "children": [],
        **common,
        **decides,
    }


def _common(step: Document, index_of: dict[str, int], parents: set[int]) -> Document:
    """What steps of all kinds have; the steps that it names are added to `parents`."""
    parents |= {index_of[path] for path in step.get("after") or ()}
    common: Document = {"inputs": {n: resolve(binding, index_of, parents) for n, binding in step["inputs"].items()}}
    if step.get("guard") is not None:
        common["guard"] = step["guard"] | {"step": index_of[step["guard"]["step"]]}
        parents.add(common["guard"]["step"])
    return common
