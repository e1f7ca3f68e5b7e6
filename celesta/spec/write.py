"""A traced workflow as a spec: constants encoded, code digested and bundled, steps and bindings written down.

Called through `celesta.spec.workflow_spec`, in the SDK only. Refuses what a step could not import: tasks defined inside
functions, and local modules outside the bundle.
"""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from celesta.blobs import MemoryBlobs
from celesta.branching import Branch, Merge
from celesta.bundle import pack, reached_files
from celesta.codecs import encode
from celesta.containers import ContainerTask
from celesta.environment import environment_lock
from celesta.errors import CodecError, NotFoundError, SpecError
from celesta.frames import place_of
from celesta.graph import FAILURE, Graph, Step
from celesta.interface import Interface
from celesta.layout import Layout, is_local, main_name, module_path
from celesta.options import DEFAULTS
from celesta.placing import holds_promise
from celesta.promises import Promise
from celesta.references import Referenced
from celesta.source import code_digest
from celesta.spec.checks import validate
from celesta.tasks import Task
from celesta.types import ANY, TypeDoc, inside, type_of
from celesta.waits import Wait
from celesta.workflows import graph_of


def write_spec(subject: Any, file: str | None) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The spec and its blobs. Raises `SpecError`."""
    graph = graph_of(subject)
    path = Path(file or inspect.unwrap(graph.function).__code__.co_filename)
    if not path.is_file():
        main_name()  # in an interactive session this says what to do
        raise NotFoundError(f'the file of "{graph.name}", {path}, is not there')
    layout = Layout(path)
    contents = reached_files(layout)
    writer = _Writer(layout, contents)
    spec = writer.spec(graph)
    digest, data = pack(contents, path.name)
    spec |= {"bundle": digest, "python": f"{sys.version_info.major}.{sys.version_info.minor}"}
    spec |= {"git": _git(path.parent), "environment": environment_lock()}
    writer.store.blobs[digest] = data
    problems = validate(spec)
    if problems:
        raise SpecError(f'{place_of(graph.function)}: "{graph.name}" cannot run', problems)
    return spec, writer.store.blobs


def write_traced(graph: Graph, bundle: str | None) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The spec of what a running step traced, and its blobs; its code is the bundle that it runs from."""
    writer = _Writer(None, {})
    spec = writer.spec(graph) | {"bundle": bundle, "python": _python(), "git": None}
    problems = validate(spec)
    if problems:
        raise SpecError(f'{place_of(graph.function)}: what "{graph.name}" calls cannot run', problems)
    return spec, writer.store.blobs


def _python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


class _Writer:
    """Writes one spec; constants go to `store`. Without a layout all modules are there already: a step runs."""

    def __init__(self, layout: Layout | None, contents: Mapping[str, Path]) -> None:
        self.store = MemoryBlobs()
        self._layout = layout
        self._files = {path.resolve() for path in contents.values()} if layout else None
        self._modules = {module_path(Path(name)) for name in contents if name.endswith(".py")}
        self._refs: dict[tuple[int, int], tuple[Any, Any]] = {}  # defaults come back at each step: encode them once

    def spec(self, graph: Graph) -> dict[str, Any]:
        calls = [step for step in graph.steps if isinstance(step, Step)]
        tasks = {step.task.name: step.task for step in calls}
        by_code = {step.task.name for step in calls if _is_keyed_by_code(step)}
        return graph.options | {
            "celesta": 1,
            "name": graph.name,
            "doc": graph.doc,
            "interface": self._interface(graph.interface, place_of(graph.function)),
            "tasks": {name: self._task(task, strict=name in by_code) for name, task in tasks.items()},
            "steps": [self._guarded(step) for step in graph.steps],
            "outputs": {
                name: self._binding(value, graph.interface.outputs[name], place_of(graph.function), f"output {name}")
                for name, value in graph.outputs.items()
            },
        }

    def _task(self, task: Task[..., Any], *, strict: bool) -> dict[str, Any]:
        return {
            "name": task.name,
            "doc": inspect.getdoc(task.function) or "",
            "source": _source_text(task),
            **self._program(task, strict=strict),
            "interface": self._interface(task.interface, place_of(task.function)),
            **DEFAULTS,
            **task.options,
        }

    def _program(self, task: Task[..., Any], *, strict: bool) -> dict[str, Any]:
        """What runs: a function of the bundle, a command, or nothing."""
        if isinstance(task, ContainerTask | Wait):
            return task.program()
        digest = code_digest(task.function, strict=strict, files=self._files)
        return {"kind": task.kind, "entrypoint": self._entrypoint(task), "code_digest": digest}

    def _guarded(self, step: Step | Branch | Merge | Referenced) -> dict[str, Any]:
        if isinstance(step, Branch):
            document = self._branch(step)
        elif isinstance(step, Merge):
            document = self._merge(step)
        elif isinstance(step, Referenced):
            document = self._referenced(step)
        else:
            document = self._step(step)
        if step.guard is not None:
            document["guard"] = {"step": step.guard[0], "is": step.guard[1]}
        return document

    def _branch(self, step: Branch) -> dict[str, Any]:
        where = f'{step.path}: "%s" of its condition'
        inputs = {name: self._untyped(value, step.line, where % name) for name, value in step.inputs.items()}
        return {"path": step.path, "branch": step.test, "inputs": inputs}

    def _merge(self, step: Merge) -> dict[str, Any]:
        inputs = {
            f"{side}.{name}": self._untyped(value, step.line, f'{step.path}: "{name}" of {side}=')
            for side, values in (("then", step.then), ("otherwise", step.otherwise))
            for name, value in (values or {}).items()
        }
        outputs = [{"name": name, "type": doc} for name, doc in step.outputs.items()]
        return {"path": step.path, "merge": step.branch, "inputs": inputs, "outputs": outputs, "after": step.after}

    def _referenced(self, step: Referenced) -> dict[str, Any]:
        inputs = {n: self._untyped(v, step.line, f'{step.path}: input "{n}"') for n, v in step.inputs.items()}
        return {"path": step.path, "reference": step.reference, "inputs": inputs, "after": step.after}

    def _untyped(self, value: Any, line: str, what: str) -> dict[str, Any]:
        wanted = ANY if holds_promise(value) else _own_type(value)
        return self._binding(value, wanted, line, what)

    def _step(self, step: Step) -> dict[str, Any]:
        inputs = {}
        for name, value in step.inputs.items():
            wanted = step.task.interface.inputs[name].type
            if name in (step.mapped or ()):
                wanted = {"kind": "list", "items": wanted}
            inputs[name] = self._binding(value, wanted, step.line, f'{step.path}: input "{name}"')
        return {
            "path": step.path,
            "task": step.task.name,
            "inputs": inputs,
            "map": step.mapped,
            "after": step.after,
            "options": step.task.overrides,
            **({"on_failure": True} if step.on_failure else {}),
        }

    def _interface(self, interface: Interface, line: str) -> dict[str, Any]:
        defaults = {
            name: self._ref(one.default, one.type, line, f'the default of "{name}"')
            for name, one in interface.inputs.items()
            if not one.required
        }
        return interface.document(defaults)

    def _binding(self, value: Any, wanted: TypeDoc, line: str, what: str) -> dict[str, Any]:
        if isinstance(value, Promise):
            if value._path is None:
                return {"input": value._output}
            if value._path == FAILURE:
                return {"failure": True}
            return {"step": value._path, "output": value._output}
        if not holds_promise(value):
            return {"value": self._ref(value, wanted, line, what)}
        inner = inside(wanted, "list" if isinstance(value, list) else "dict") or {"kind": "any"}
        if isinstance(value, list):
            return {"list": [self._binding(one, inner, line, f"{what}[{i}]") for i, one in enumerate(value)]}
        return {"dict": {key: self._binding(one, inner, line, f"{what}[{key!r}]") for key, one in value.items()}}

    def _ref(self, value: Any, wanted: TypeDoc, line: str, what: str) -> Any:
        key = (id(value), id(wanted))
        if key not in self._refs:
            try:
                self._refs[key] = (value, encode(value, wanted, self.store))
            except CodecError as error:
                raise SpecError(f"{line}: {what} cannot be stored: {error}") from error
        return self._refs[key][1]

    def _entrypoint(self, task: Task[..., Any]) -> str:
        """`module:function` as a step will import it."""
        function, line = task.function, place_of(task.function)
        if "<locals>" in function.__qualname__:
            raise SpecError(
                f'{line}: task "{task.name}" is defined inside a function; define it at the top of its module'
            )
        module = sys.modules[function.__module__]
        if _attribute(module, function.__qualname__) not in (task.function, task):
            named = f"{function.__module__}.{function.__qualname__}"
            raise SpecError(f'{line}: task "{task.name}" is not what {named} names; decorate the function in place')
        name = main_name() if module.__name__ == "__main__" else module.__name__
        if self._layout is not None and is_local(module.__file__) and name not in self._modules:
            raise SpecError(
                f'{line}: task "{task.name}" lies in module "{name}", which {self._layout.file.name} does not import '
                f"from below {self._layout.root}; import it there, or install it where steps run"
            )
        return f"{name}:{function.__qualname__}"


def _own_type(value: Any) -> TypeDoc:
    """The type of a constant that no hint tells."""
    return ANY if isinstance(value, list | dict) else type_of(type(value))


def _attribute(module: ModuleType, qualname: str) -> Any:
    found: Any = module
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return getattr(found, "function", found)


def _is_keyed_by_code(step: Step) -> bool:
    """Whether a cache key is made of the code's digest, so that nothing in it may be left out."""
    cache: Mapping[str, Any] | None = {**step.task.options, **step.task.overrides}.get("cache")
    return cache is not None and cache["version"] is None


def _source_text(task: Task[..., Any]) -> str:
    if isinstance(task, ContainerTask):
        return task.source()
    try:
        return inspect.getsource(task.function)
    except (OSError, TypeError):
        return ""


def _git(folder: Path) -> dict[str, Any] | None:
    """The commit that the code is at, and whether files differ from it; null outside git."""
    try:
        run = ["git", "-C", str(folder), "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
        shown = subprocess.run(run, capture_output=True, text=True, timeout=5, check=True).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return None
    commit = next((line.split()[-1] for line in shown if line.startswith("# branch.oid")), "(initial)")
    dirty = any(not line.startswith("#") for line in shown)
    return None if commit == "(initial)" else {"commit": commit, "dirty": dirty}
