"""The code bundle: the local modules that a user's file reaches, as one zip with one digest for one content.

Called by `celesta.spec` when a workflow is registered or launched; a step unpacks it and imports from it. What is
reached is found by reading imports, without running anything: local modules singly, local packages whole with the small
data files in them. Paths in the zip are import paths, so that the folder it is unpacked to is all a step needs on its
path. Refuses more than 50 MB.
"""

from __future__ import annotations

import ast
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

from celesta.errors import SourceError, TooLarge
from celesta.hashing import digest_of
from celesta.layout import Layout, package_of
from celesta.syntax import module_tree

MAX_BYTES = 50_000_000
MAX_DATA_FILE_BYTES = 1_000_000
_SKIPPED_FOLDERS = {"__pycache__", "node_modules"}
_SKIPPED_SUFFIXES = {".pyc", ".pyo", ".so", ".pyd", ".dll", ".dylib"}
_CODE_SUFFIXES = {".py", ".pyi"}
_EPOCH = (1980, 1, 1, 0, 0, 0)


def pack(contents: dict[str, Path], what: str) -> tuple[str, bytes]:
    """Digest and zip of files by path. The same content gives the same bytes, whenever and wherever it is made."""
    sizes = {name: path.stat().st_size for name, path in contents.items()}
    total = sum(sizes.values())
    if total > MAX_BYTES:
        largest = sorted(sizes, key=lambda name: -sizes[name])[:3]
        told = ", ".join(f"{name} ({sizes[name] / 1e6:.1f} MB)" for name in largest)
        raise TooLarge(
            f"the code that {what} reaches is {total / 1e6:.0f} MB, more than {MAX_BYTES / 1e6:.0f} MB; "
            f"largest are {told}: pass data as a File input, or move it out of the package"
        )
    data = _zip(contents)
    return digest_of(data), data


def reached_files(layout: Layout) -> dict[str, Path]:
    """Every file of the bundle by its path there: the file itself, what it imports, and what that imports."""
    reached: dict[str, Path] = {}
    waiting = layout.find(layout.name_of(layout.file)) or [(layout.relative(layout.file), layout.file)]
    while waiting:
        relative, path = waiting.pop()
        if relative.as_posix() in reached:
            continue
        reached[relative.as_posix()] = path
        if path.name == "__init__.py":
            inside = _package_files(path.parent)
            waiting += [(relative.parent / one.relative_to(path.parent), one) for one in inside]
        if path.suffix == ".py":
            for wanted in imported_names(_tree(path), package_of(relative)):
                waiting += layout.find(wanted)
    return reached


def imported_names(tree: ast.AST, package: str) -> Iterator[str]:
    """Dotted names that code imports, also in functions and by `import_module("...")`; they may go on below modules."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (one.name for one in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                base = _absolute(module, level, package)
                if base:
                    yield from (f"{base}.{one.name}" for one in names)
            case ast.Call(
                func=ast.Name(id=called) | ast.Attribute(attr=called), args=[ast.Constant(value=str() as name)]
            ):
                if called in ("import_module", "__import__"):
                    yield name


def _tree(path: Path) -> ast.Module:
    """The syntax tree; an empty one for what is not Python, such as a template in a package: nothing imports it."""
    try:
        return module_tree(str(path))
    except SourceError:
        return ast.Module([], [])


def _absolute(module: str | None, level: int, package: str) -> str:
    if level == 0:
        return module or ""
    parts = package.split(".") if package else []
    above = parts[: len(parts) - (level - 1)]
    return ".".join([*above, *([module] if module else [])])


def _package_files(folder: Path) -> Iterator[Path]:
    """Files of a package: all its modules, and data files small enough to travel with code. Links are not followed."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name in _SKIPPED_FOLDERS:
            continue
        if path.is_dir() and not path.is_symlink():
            if not (path / "pyvenv.cfg").exists():
                yield from _package_files(path)
        elif path.is_file() and (path.suffix in _CODE_SUFFIXES or _travels(path)):
            yield path


def _travels(path: Path) -> bool:
    return path.suffix not in _SKIPPED_SUFFIXES and path.stat().st_size <= MAX_DATA_FILE_BYTES


def _zip(contents: dict[str, Path]) -> bytes:
    """Sorted names, one date, one mode, no compression that differs between versions of zlib."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(contents):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, contents[name].read_bytes())
    return out.getvalue()
