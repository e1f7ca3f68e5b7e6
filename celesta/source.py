"""The digest of a function's code: its syntax, and everything of the user's own that it reaches.

Called by `celesta.spec` for each task. Helpers, classes, constants, closures, defaults and attributes of other local
modules take part, each once, in an order that follows the names; so reformatting, renaming a file or moving unrelated
code changes nothing, and a change to anything reached changes the digest. Installed code takes part by name only (the
environment covers it). What has no digest, such as an open file, is refused by name, and never taken for a constant.
"""

from __future__ import annotations

import builtins
import functools
import hashlib
import json
import sys
import types
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from celesta.classparts import cell_content, chosen, closure_of, heirs_of, held_by, is_plain, set_on
from celesta.errors import SourceError
from celesta.frames import place_of
from celesta.imports import imported_as
from celesta.layout import Layout, is_local, package_of, project_root
from celesta.syntax import (
    attribute_chains,
    classes_named,
    decorator_names,
    free_names,
    functions_at,
    module_tree,
    normal,
    without_docs,
)
from celesta.valueform import Forms

VERSION = 1
_IGNORED_GLOBALS = {"__file__", "__name__", "__doc__", "__package__", "__spec__", "__loader__", "__path__"}


def code_digest(function: Callable[..., Any], *, strict: bool = True, files: Collection[Path] | None = None) -> str:
    """The digest of a function and all it reaches. Raises `SourceError` naming what has none.

    `files` are those of its bundle: whatever else is imported, only their classes can be met. None: all are.
    Not `strict`: what has no digest takes part by its type. Such a digest tells versions apart, and may not be a key.
    """
    walk = _Walk(strict, project_root(Path(function.__code__.co_filename).resolve()))
    try:
        walk.form(function, function.__name__)
        walk.heirs(function, files)
    except SourceError as error:
        raise SourceError(
            f'{place_of(function)}: the code of "{function.__name__}" has no digest to cache by: {error}. '
            'Make it inside the function or pass it as an input; or write cache="v1" and change the version yourself'
        ) from error
    except RecursionError:
        raise SourceError(
            f'{place_of(function)}: "{function.__name__}" reaches data that is nested too deeply'
        ) from None
    return _digest(["code", VERSION, walk.entries])


class _Walk(Forms):
    """One digest being made: an entry for each function, class and module that was reached, in order of discovery."""

    def __init__(self, strict: bool, root: Path) -> None:
        super().__init__(strict, root)
        self.entries: list[Any] = []
        self._places: dict[Any, int] = {}
        self._kept: list[Any] = []  # ids are good as keys only while their objects live

    def function(self, function: types.FunctionType, where: str) -> Any:
        filename = function.__code__.co_filename
        if not is_local(filename):
            return self._installed_function(function, where)
        return self._entry(id(function), function, lambda: self._function(function, filename, where))

    def cls(self, cls: type, where: str) -> Any:
        filename = getattr(sys.modules.get(cls.__module__), "__file__", None)
        if not is_local(filename):
            return self.by_name(cls)
        return self._entry(id(cls), cls, lambda: self._class(cls, str(filename), where))

    def module(self, module: types.ModuleType, where: str) -> Any:
        if not is_local(getattr(module, "__file__", None)):
            return ["installed", module.__name__]
        return self._module_file(Path(str(module.__file__)), _Scope.of(vars(module)), where)

    def heirs(self, function: Callable[..., Any], files: Collection[Path] | None) -> None:
        """A value of a class may be one of a class below it, whose methods the function then calls. Not those that were
        made by code, which has no text."""
        for cls in heirs_of(function):
            file = Path(str(sys.modules[cls.__module__].__file__))
            if (files is None or file.resolve() in files) and classes_named(str(file), cls.__qualname__):
                self.cls(cls, f"{function.__name__} -> {cls.__name__}")

    def _entry(self, key: Any, kept: Any, make: Callable[[], Any]) -> Any:
        """A reference to the entry of something that may reach itself; made when it is met first."""
        if key not in self._places:
            self._places[key] = place = len(self.entries)
            self._kept.append(kept)
            self.entries.append(None)
            self.entries[place] = _digest(make())
        return ["entry", self._places[key]]

    def _function(self, function: types.FunctionType, filename: str, where: str) -> Any:
        nodes = functions_at(filename, function.__code__.co_firstlineno, function.__code__.co_name)
        if not nodes:
            raise SourceError(
                f"{where} is not found in {filename}, which was changed since it was imported, or made by code"
            )
        closure = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
        around = {name: cell_content(cell) for name, cell in closure.items()}
        defaults = [*(function.__defaults__ or ()), *sorted((function.__kwdefaults__ or {}).items())]
        return [
            "function",
            [self._syntax(node, around, function.__globals__, where) for node in nodes],
            self.form(defaults, f"the defaults of {where}"),
            *self._parts(set_on(function), where),
        ]

    def _class(self, cls: type, filename: str, where: str) -> Any:
        nodes = chosen(cls, classes_named(filename, cls.__qualname__), filename)
        if not nodes:
            return self.made_class(cls, where)
        module, around = vars(sys.modules[cls.__module__]), closure_of(cls)
        texts = [self._syntax(node, around, module, where) for node in nodes]
        bases = [self.form(base, where) for base in cls.__bases__]
        return ["class", texts, bases, *self._parts(held_by(cls, nodes), where)]

    def _parts(self, attributes: Iterable[tuple[str, Any]], where: str) -> list[Any]:
        return [[name, self.form(value, f"{where}.{name}")] for name, value in attributes]

    def _syntax(self, node: Any, closure: dict[str, Any], module: dict[str, Any], where: str) -> Any:
        clean = without_docs(node)
        for decorator, dotted in list(decorator_names(clean)):
            if _is_ours(_look_up(dotted, closure, module)):
                clean.decorator_list.remove(decorator)
        chains = attribute_chains(clean)
        reached = []
        for name in sorted(free_names(clean) | closure.keys()):
            if name not in _IGNORED_GLOBALS:
                reached += self._name(name, chains.get(name, {()}), closure, module, where)
        return [normal(clean), reached, self._imports(clean, _Scope.of(module), where)]

    def _name(
        self, name: str, chains: set[tuple[str, ...]], closure: dict[str, Any], module: dict[str, Any], where: str
    ) -> list[Any]:
        if name in closure:
            found = closure[name]
        elif name in module:
            found = module[name]
        else:
            return [] if hasattr(builtins, name) else [[name, "undefined"]]
        inside = f"{where} -> {name}"
        if not is_plain(found) and name not in closure and (origin := imported_as(name, found, module)):
            return [[name, ["installed", *origin]]]
        if isinstance(found, types.ModuleType) and is_local(getattr(found, "__file__", None)):
            return [[".".join((name, *chain)), self._attribute(found, chain, inside)] for chain in sorted(chains)]
        return [[name, self.form(found, inside)]]

    def _attribute(self, module: types.ModuleType, chain: tuple[str, ...], where: str) -> Any:
        """What `module.a.b` reaches: the first thing on the way that is no local module; a bare module as a whole."""
        if not chain:
            return self.module(module, where)
        name, *rest = chain
        found = getattr(module, name, None)
        found = sys.modules.get(f"{module.__name__}.{name}") if found is None else found
        inside = f"{where}.{name}"
        if isinstance(found, types.ModuleType) and is_local(getattr(found, "__file__", None)):
            return self._attribute(found, tuple(rest), inside)
        return self.form(found, inside)

    def _imports(self, node: Any, scope: _Scope, where: str) -> list[Any]:
        """Local modules that are imported inside a function: they may not be loaded yet, so they count as a whole."""
        from celesta.bundle import imported_names

        found: dict[Path, Path] = {}
        for name in imported_names(node, scope.package):
            found.update(scope.layout.find(name))
        scopes = {relative: _Scope(scope.layout, package_of(relative)) for relative in found}
        return [self._module_file(found[one], scopes[one], f"{where} -> {one}") for one in sorted(found)]

    def _module_file(self, file: Path, scope: _Scope, where: str) -> Any:
        def make() -> Any:
            tree = without_docs(module_tree(str(file)))
            return ["module", normal(tree), self._imports(tree, scope, where)]

        return self._entry(str(file.resolve()), None, make)

    def _installed_function(self, function: types.FunctionType, where: str) -> Any:
        """By name; what an installed decorator wraps, or was given, may be the user's and is followed."""
        found = self.by_name(function)
        if is_local(getattr(sys.modules.get(function.__module__), "__file__", None)):  # it took a name of the user's
            package = str(function.__globals__["__name__"]).partition(".")[0]
            found = ["installed", package, function.__code__.co_qualname]
        wrapped = getattr(function, "__wrapped__", None)
        if wrapped is not None:
            found.append(self.form(wrapped, where))
        registry = getattr(function, "registry", None)  # of functools.singledispatch; its other cells are caches
        cells = [cell_content(cell) for cell in function.__closure__ or ()]
        for value in [dict(registry)] if isinstance(registry, types.MappingProxyType) else cells:
            if is_plain(value) and value is not wrapped:
                found.append(self.form(value, where))
        return found


class _Scope(NamedTuple):
    """Where the imports of some code are looked up."""

    layout: Layout
    package: str

    @classmethod
    def of(cls, module: dict[str, Any]) -> _Scope:
        """That of a module that was imported: the folder it was found in counts, whatever the project's layout."""
        name, file = module["__name__"], Path(module["__file__"]).resolve()
        package = module.get("__package__")
        if package is None:
            package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        above = file.parents[len(package.split(".")) if package else 0]
        return cls(_layout(file, above), package)


@functools.lru_cache(maxsize=256)
def _layout(file: Path, above: Path) -> Layout:
    layout = Layout(file)
    layout.folders = list(dict.fromkeys([above, *layout.folders]))
    return layout


def _look_up(dotted: list[str], closure: dict[str, Any], module: dict[str, Any]) -> Any:
    if not dotted:
        return None
    found = closure.get(dotted[0], module.get(dotted[0]))
    for part in dotted[1:]:
        found = getattr(found, part, None)
    return found


def _is_ours(decorator: Any) -> bool:
    """Whether it is `@task` or `@workflow`, or one with options given before."""
    if isinstance(decorator, functools.partial):
        decorator = decorator.func
    return (getattr(decorator, "__module__", None) or "").partition(".")[0] == "celesta"


def _digest(document: Any) -> str:
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
