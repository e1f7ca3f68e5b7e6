"""Compiles a spec into the immutable plan of chords that the engine runs.

`app.services.version_register` calls `app.compiler.schema.load_spec`, which refuses what cannot run, and then
`compile_plan`, once per version. The same spec always gives the same plan, byte for byte.
"""

from typing import Any

from app.compiler.bindings import resolve
from celesta.hashing import interface_digest
from celesta.spec import spec_digest

Document = dict[str, Any]
STEP_OPTIONS = ("retry", "timeout_seconds", "cache", "resources", "env", "secrets", "executor", "image", "labels")


def compile_plan(spec: Document) -> Document:
    """The plan of a valid spec (`docs/contracts.md` section 5)."""
    names = sorted(spec["tasks"])
    tasks = [_task(spec["tasks"][name]) for name in names]
    task_index = {name: index for index, name in enumerate(names)}
    index_of = {step["path"]: index for index, step in enumerate(spec["steps"])}
    steps = [_step(step, tasks, task_index, index_of) for step in spec["steps"]]
    for index, step in enumerate(steps):
        for parent in step["parents"]:
            steps[parent]["children"].append(index)
    return {
        "plan": 1,
        "workflow": spec["name"],
        "version": spec_digest(spec),
        "bundle": spec["bundle"],
        "interface": spec["interface"],
        "outputs": {name: resolve(binding, index_of, set()) for name, binding in spec["outputs"].items()},
        "tasks": tasks,
        "steps": steps,
        "roots": [index for index, step in enumerate(steps) if not step["parents"]],
        "chords": [
            {"body": index, "header": step["parents"]} for index, step in enumerate(steps) if len(step["parents"]) > 1
        ],
    }


def _task(task: Document) -> Document:
    return task | {"interface_digest": interface_digest(task["interface"])}


def _step(step: Document, tasks: list[Document], task_index: dict[str, int], index_of: dict[str, int]) -> Document:
    task = task_index[step["task"]]
    parents = {index_of[path] for path in step.get("after") or ()}
    inputs = {name: resolve(binding, index_of, parents) for name, binding in step["inputs"].items()}
    options = {name: tasks[task].get(name) for name in STEP_OPTIONS} | (step.get("options") or {})
    return {
        "path": step["path"],
        "task": task,
        "inputs": inputs,
        "map": step.get("map"),
        "parents": sorted(parents),
        "children": [],
        **options,
    }
