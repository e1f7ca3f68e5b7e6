"""Source text as syntax: finding the definition of a function or class, and what of it makes it the same code.

Called by `celesta.source`. The normal form leaves out docstrings, comments, layout and positions; it is spelled by us,
not by `ast.dump`, whose text differs between versions of Python.
"""

from __future__ import annotations

import ast
import copy
import symtable
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from celesta.errors import SourceError

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_LEFT_OUT = {"ctx", "kind", "type_comment", "type_ignores", "lineno", "col_offset", "end_lineno", "end_col_offset"}


def module_tree(filename: str) -> ast.Module:
    """The syntax tree of a file. Raises `SourceError` when it cannot be read."""
    try:
        stat = Path(filename).stat()
        return _parsed(filename, stat.st_mtime_ns, stat.st_size)
    except (OSError, SyntaxError, ValueError) as error:
        raise SourceError(f"the source {filename} cannot be read: {error}") from error


@lru_cache(maxsize=256)
def _parsed(filename: str, mtime_ns: int, size: int) -> ast.Module:
    return ast.parse(Path(filename).read_bytes(), filename)


def functions_at(filename: str, line: int, name: str) -> list[Definition]:
    """The definition whose first line (that of its first decorator) is `line`; of lambdas, all on that line."""
    found: list[Definition] = []
    for node in ast.walk(module_tree(filename)):
        if isinstance(node, _FUNCTIONS) and node.name == name:
            if line in (node.lineno, *(one.lineno for one in node.decorator_list)):
                found.append(node)
        elif isinstance(node, ast.Lambda) and name == "<lambda>" and node.lineno == line:
            found.append(node)
    return found


def classes_named(filename: str, qualname: str) -> list[Definition]:
    """The definitions of a class, by its dotted name; several when it is defined in branches."""
    parts = [part for part in qualname.split(".") if part != "<locals>"]
    return [node for node in _descend(module_tree(filename), parts) if isinstance(node, ast.ClassDef)]


def _descend(tree: ast.AST, parts: list[str]) -> Iterator[ast.AST]:
    if not parts:
        yield tree
        return
    for node in _own_definitions(tree):
        if node.name == parts[0]:
            yield from _descend(node, parts[1:])


def _own_definitions(tree: ast.AST) -> Iterator[Any]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            yield node
        else:
            yield from _own_definitions(node)


def without_docs(node: Any) -> Any:
    """A copy without docstrings, its own and those inside."""
    changed = copy.deepcopy(node)
    for inner in ast.walk(changed):
        if isinstance(inner, (*_FUNCTIONS, ast.ClassDef, ast.Module)) and _is_text(inner.body[:1]):
            inner.body = inner.body[1:] or [ast.Pass()]
    return changed


def _is_text(body: list[ast.stmt]) -> bool:
    match body:
        case [ast.Expr(value=ast.Constant(value=str()))]:
            return True
    return False


def normal(node: Any) -> Any:
    """The node as plain JSON data: class, then the fields that are not empty."""
    if isinstance(node, ast.Constant):
        return ["Constant", constant(node.value)]
    if isinstance(node, ast.JoinedStr):  # Python 3.12 ends a format with an empty text, which others leave out
        parts = [one for one in node.values if not (isinstance(one, ast.Constant) and one.value == "")]
        return ["JoinedStr", *([["values", normal(parts)]] if parts else [])]
    if isinstance(node, ast.AST):
        fields = ((name, value) for name, value in ast.iter_fields(node) if name not in _LEFT_OUT)
        return [type(node).__name__, *([name, normal(value)] for name, value in fields if value not in (None, []))]
    if isinstance(node, list):
        return [normal(one) for one in node]
    return node


def constant(value: Any) -> Any:
    """A scalar, tagged so that 1, 1.0, True and "1" stay apart. `None` and `...` are told by their names."""
    if isinstance(value, float):
        return ["float", value.hex()]
    if isinstance(value, complex):
        return ["complex", value.real.hex(), value.imag.hex()]
    if isinstance(value, bytes):
        return ["bytes", value.hex()]
    return [type(value).__name__, value if isinstance(value, str) else repr(value)]


def free_names(node: Any) -> set[str]:
    """Names that a definition takes from around it: globals, and what an enclosing function would give it."""
    changed = copy.deepcopy(node)
    for inner in ast.walk(changed):
        if hasattr(inner, "body") and isinstance(inner.body, list):
            inner.body = [one for one in inner.body if not isinstance(one, ast.Nonlocal)] or [ast.Pass()]
        if isinstance(inner, _FUNCTIONS):
            inner.returns = _unquoted(inner.returns)
        elif isinstance(inner, ast.arg | ast.AnnAssign) and inner.annotation is not None:
            inner.annotation = _unquoted(inner.annotation)
    text = ast.unparse(ast.fix_missing_locations(changed))
    names: set[str] = set()
    _collect(symtable.symtable(text, "<definition>", "exec"), names)
    return names


def _unquoted(annotation: Any) -> Any:
    """An annotation with the names that it holds as text: what is quoted is used all the same."""
    for node in ast.walk(annotation) if annotation is not None else ():
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            try:
                quoted = ast.parse(node.value.strip(), mode="eval").body
            except (SyntaxError, ValueError):
                continue
            annotation = ast.Tuple([annotation, quoted], ast.Load())
    return annotation


def _collect(table: symtable.SymbolTable, names: set[str]) -> None:
    top = table.get_type() == "module"
    for symbol in table.get_symbols():
        free = not symbol.is_assigned() if top else symbol.is_global()
        if (symbol.is_referenced() and free) or symbol.is_declared_global():
            names.add(symbol.get_name())
    for child in table.get_children():
        _collect(child, names)


def attribute_chains(node: Any) -> dict[str, set[tuple[str, ...]]]:
    """For each name the attributes read off it: `a.b.c` gives `a: {("b", "c")}`, a bare `a` gives `a: {()}`."""
    chains: dict[str, set[tuple[str, ...]]] = {}
    _walk_chains(node, (), chains)
    return chains


def _walk_chains(node: ast.AST, above: tuple[str, ...], chains: dict[str, set[tuple[str, ...]]]) -> None:
    if isinstance(node, ast.Attribute):
        _walk_chains(node.value, (node.attr, *above), chains)
        return
    if isinstance(node, ast.Name):
        chains.setdefault(node.id, set()).add(above)
    for child in ast.iter_child_nodes(node):
        _walk_chains(child, (), chains)


def decorator_names(node: Any) -> Iterator[tuple[ast.expr, list[str]]]:
    """Each decorator with its dotted name, called or not: `@celesta.task(cache=True)` gives `["celesta", "task"]`."""
    for decorator in getattr(node, "decorator_list", []):
        inner = decorator.func if isinstance(decorator, ast.Call) else decorator
        parts: list[str] = []
        while isinstance(inner, ast.Attribute):
            parts.insert(0, inner.attr)
            inner = inner.value
        yield decorator, [inner.id, *parts] if isinstance(inner, ast.Name) else []
