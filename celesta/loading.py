"""Importing a user's file, and finding the tasks and workflows in it.

Called by the CLI. The file is imported under the name that a step will import it by, with its project's folders first
on the path; so packages named `app` or `workers` in the user's folder are the user's. An error of the file is shown
with its own traceback, without our frames.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from celesta.errors import CelestaError, LoadError, NotFoundError
from celesta.frames import last_line, own_traceback
from celesta.layout import Layout, is_local
from celesta.tasks import Task
from celesta.workflows import Workflow

_earlier: set[str] = set()  # modules that an earlier load brought in; a later one reads files afresh


@dataclass
class LoadedFile:
    """A user's module with what is in it, by the names that people use."""

    path: Path
    module: ModuleType
    tasks: dict[str, Task[..., Any]] = field(default_factory=dict)
    workflows: dict[str, Workflow[..., Any]] = field(default_factory=dict)

    def find(self, name: str) -> Workflow[..., Any] | Task[..., Any]:
        """The workflow or task of this name. Raises `NotFoundError` with the names that are there."""
        found = self.workflows.get(name) or self.tasks.get(name)
        if found is not None:
            return found
        near = difflib.get_close_matches(name, [*self.workflows, *self.tasks], n=1)
        guess = f' (did you mean "{near[0]}"?)' if near else ""
        raise NotFoundError(f'{self.path.name} has no workflow or task "{name}"{guess}; {self.told}')

    @property
    def told(self) -> str:
        """The names that are there, for an error."""
        return f"workflows: {', '.join(self.workflows) or 'none'}; tasks: {', '.join(self.tasks) or 'none'}"


def load_file(file: str | os.PathLike[str]) -> LoadedFile:
    """Imports a user's file. Raises `LoadError` with the file's own traceback; errors of Celesta go through."""
    path = Path(file)
    if not path.is_file():
        raise NotFoundError(f"there is no file {path}")
    if path.suffix != ".py":
        raise LoadError(f"{path} is not a Python file: its name must end in .py")
    layout = Layout(path)
    name = layout.name_of(layout.file)
    _forget_earlier()
    before = set(sys.modules)
    with _project_on_path(layout):
        module = _import(name, layout)
    _earlier.update(n for n in set(sys.modules) - before if is_local(getattr(sys.modules[n], "__file__", None)))
    loaded = LoadedFile(path, module)
    for value in vars(module).values():
        if isinstance(value, Workflow):
            loaded.workflows[value.name] = value
        elif isinstance(value, Task):
            loaded.tasks[value.name] = value
    return loaded


def _import(name: str, layout: Layout) -> ModuleType:
    try:
        module = importlib.import_module(name)
    except (CelestaError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a file may also call sys.exit() while it is imported
        raise LoadError(f"{layout.file} does not import: {last_line(error)}", own_traceback(error)) from error
    if Path(getattr(module, "__file__", None) or "").resolve() != layout.file:
        taken = getattr(module, "__file__", None) or "a module built into Python"
        raise LoadError(f'{layout.file} is imported as "{name}", and that name is taken by {taken}: rename the file')
    return module


@contextmanager
def _project_on_path(layout: Layout) -> Iterator[None]:
    """The folders stay on the path, since functions import while they run. Compiled files are not left behind: two
    edits within a second look alike to them."""
    folders = [str(folder) for folder in layout.folders]
    sys.path[:] = [*folders, *(entry for entry in sys.path if entry not in folders)]
    sys.meta_path[:] = [
        _ProjectFirst(folders),
        *(finder for finder in sys.meta_path if not isinstance(finder, _ProjectFirst)),
    ]
    importlib.invalidate_caches()
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before


class _ProjectFirst:
    """Finds a project's packages that are named like those of Celesta's servers.

    The order of the path is not enough: a folder without `__init__.py` yields to any package behind it.
    """

    names = frozenset(("app", "workers"))

    def __init__(self, folders: list[str]) -> None:
        self.folders = folders

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """The project's package of this name; None when it has none."""
        return PathFinder.find_spec(name, self.folders) if name in self.names else None


def _forget_earlier() -> None:
    for name in _earlier:
        sys.modules.pop(name, None)
    _earlier.clear()
