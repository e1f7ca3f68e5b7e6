"""Where a name of a module was imported from: objects of installed packages count by it, when nothing else names them.

Called by `celesta.source`. `from scipy.stats import norm` gives an object, not a function: what it holds is the
package's business, and its name is enough. Reads the import statements; imports nothing.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from celesta.errors import SourceError
from celesta.layout import is_local
from celesta.syntax import module_tree

_HOPS = 10


def imported_as(name: str, value: Any, module: dict[str, Any]) -> tuple[str, str] | None:
    """Package and name of an object that a module took from an installed one, perhaps through other local modules."""
    for _ in range(_HOPS):
        origin = _origin(name, module)
        source = sys.modules.get(origin[0]) if origin else None
        if origin is None or source is None or getattr(source, origin[1], None) is not value:
            return None
        if not is_local(getattr(source, "__file__", None)):
            return origin[0].partition(".")[0], origin[1]
        name, module = origin[1], vars(source)
    return None


def _origin(name: str, module: dict[str, Any]) -> tuple[str, str] | None:
    try:
        level, source, found = _from_imports(module_tree(str(module.get("__file__"))))[name]
        return importlib.util.resolve_name("." * level + source, module.get("__package__") or None), found
    except (KeyError, ImportError, SourceError):
        return None


@lru_cache(maxsize=64)
def _from_imports(tree: ast.Module) -> dict[str, tuple[int, str, str]]:
    return {
        alias.asname or alias.name: (node.level, node.module or "", alias.name)
        for node in _statements(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """Those that run when the module is imported."""
    for inner in ast.iter_child_nodes(node):
        if not isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            yield inner
            yield from _statements(inner)
