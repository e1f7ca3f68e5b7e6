"""Entering a step: the process becomes the step's own.

Owns what a step finds when it starts: its output files, variables, import path and function. Called by
`celesta.runtime.step` and the zygote.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Callable, Container, Iterable, Mapping
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

from celesta.errors import ContextError, LoadError

_BESIDE_THE_SDK = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# Variables of the deployment that a step may see; database, broker, secret key and token are not its business.
_SHOWN = {"CELESTA_HOME", "CELESTA_URL", "CELESTA_PROJECT", "CELESTA_S3_ENDPOINT_URL", "CELESTA_WEBHOOK_ALLOW"}


def clean_environment(environ: Mapping[str, str], hidden: Container[str] = ()) -> dict[str, str]:
    """The variables that step processes inherit from the worker: none that open the deployment's other doors, and none
    of `hidden`."""
    shown = (name for name in environ if not name.startswith("CELESTA_") or name in _SHOWN)
    kept = {name: environ[name] for name in shown if name not in hidden}
    kept.pop("PYTHONSAFEPATH", None)  # It protects the servers' own imports; a step's programs are the user's.
    kept.setdefault("PYTHONHASHSEED", "0")  # The order of a set of strings is the same in every attempt.
    return kept


def variables(document: Mapping[str, Any]) -> dict[str, str]:
    """The variables that tell a step, and the programs it starts, where they are."""
    return {
        "CELESTA_RUN_ID": document["run"],
        "CELESTA_STEP_PATH": document["path"],
        "CELESTA_ATTEMPT": str(document["attempt"]),
    }


def secret_sources(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Where the values of secrets come from: the variables of the same names, where the step runs."""
    return {name: {"env": name} for name in names}


def secrets(document: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, str]:
    """The values of the step's secrets, from where the document says they are: `{"env": VARIABLE}`."""
    values = {}
    for name, source in (document.get("secrets") or {}).items():
        variable = source.get("env") if isinstance(source, dict) else None
        if variable is None or variable not in environ or variable.startswith("CELESTA_"):
            raise ContextError(
                f"secret {name!r} of step {document['path']!r} has no value where the step runs; "
                f"set the environment variable {variable or name} there"
            )
        values[name] = environ[variable]
    return values


def redirect_output(log: int) -> None:
    """Sends stdout and stderr, also those of C libraries and child processes, to this open file."""
    os.dup2(log, 1)
    os.dup2(log, 2)


def open_log(path: str | os.PathLike[str]) -> int:
    """A new log file for `redirect_output`. Appending, so that no writer overwrites another."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)


def open_text_streams() -> None:
    """Makes `sys.stdout` and `sys.stderr` afresh over descriptors 1 and 2: by line, never failing to encode."""
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        raw = io.FileIO(descriptor, "w", closefd=False)
        stream = io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", "backslashreplace", line_buffering=True)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def put_on_path(folder: str | os.PathLike[str]) -> None:
    """Makes the modules of an unpacked bundle importable, before any others."""
    sys.path.insert(0, os.fspath(folder))
    sys.meta_path.insert(0, _ServersHidden())


class _ServersHidden:
    """Finds a user's packages that are named like those of the servers, which lie beside the SDK, and only those.

    The order of `sys.path` is not enough: a folder without `__init__.py` yields to any package behind it.
    """

    names = frozenset(("app", "workers"))

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """The user's package of this name; an import error when there is none."""
        if name not in self.names:
            return None
        found = PathFinder.find_spec(name, [folder for folder in sys.path if folder != _BESIDE_THE_SDK])
        if found is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return found


def load_function(entrypoint: str, path: str) -> Callable[..., Any]:
    """The function of an entrypoint `module:name`. An import error goes through as it is."""
    module_name, _, name = entrypoint.partition(":")
    found: Any = sys.modules.get(module_name) or importlib.import_module(module_name)
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise LoadError(f"step {path!r} wants {name!r}, which module {module_name!r} does not have") from None
    if not callable(found):
        raise LoadError(f"step {path!r} wants {entrypoint!r}, which is a {type(found).__name__}, not a function")
    # A task is its function here; its own call would only look whether a workflow is being traced.
    function: Callable[..., Any] = found.function if type(found).__module__ == "celesta.tasks" else found
    return function
