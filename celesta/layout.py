"""Where a user's code lies: the root of its project, the folders it is imported from, and what counts as local.

Called by `celesta.bundle` (what to pack under which name), `celesta.loading` (what to put on the path) and
`celesta.source` (whose code takes part in a digest). Only looks at the file system.
"""

from __future__ import annotations

import site
import sys
import sysconfig
from functools import cache
from pathlib import Path

from celesta.errors import LoadError, SpecError

PROJECT_FILES = ("pyproject.toml", "setup.cfg", "setup.py", ".git", "requirements.txt")
_CELESTA = Path(__file__).resolve().parent


class Layout:
    """The import folders of one file: its project's root, the root's `src`, and the folder that it lies in.

    A module is named, and packed, by the first of them that it is below, `src` before the root. So `python FILE`,
    `celesta run FILE` and a step all import the same code under the same name.
    """

    def __init__(self, file: Path) -> None:
        self.file = file.resolve()
        self.root = project_root(self.file)
        source = self.root / "src"
        below_source = source.is_dir() and not (source / "__init__.py").exists()
        self.folders = list(dict.fromkeys([*([source] if below_source else []), self.root, self.file.parent]))

    def name_of(self, file: Path) -> str:
        """The dotted name by which a file of the project is imported."""
        return module_path(self.relative(file))

    def relative(self, file: Path) -> Path:
        """Where a file lies below the folder that it is imported from; this is its place in a bundle too."""
        for folder in self.folders:
            if file.is_relative_to(folder):
                return file.relative_to(folder)
        raise SpecError(f"{file} is not below {self.root}, the root of its project")

    def find(self, name: str) -> list[tuple[Path, Path]]:
        """The files that importing `a.b.c` runs, each with its path below the folder it is imported from.

        Outermost package first; empty when the name is not local. A name may go on below a module (`a.b.function`).
        Celesta itself is never local: every step has it already.
        """
        parts = name.split(".")
        if parts[0] == "celesta":
            return []
        for folder in self.folders:
            files = [_module_file(folder, parts[:depth]) for depth in range(1, len(parts) + 1)]
            found = [(file.relative_to(folder), file) for file in files if file is not None]
            if found:
                return found
        return []


def project_root(file: Path) -> Path:
    """The folder of the nearest project file above a file, else its own folder."""
    for folder in file.parents:
        if any((folder / name).exists() for name in PROJECT_FILES):
            return folder
    return file.parent


def module_path(relative: Path) -> str:
    """`flows/train.py` as `flows.train`, `flows/__init__.py` as `flows`."""
    parts = list(relative.with_suffix("").parts)
    if parts[-1] == "__init__" and len(parts) > 1:
        parts.pop()
    if any("." in part for part in parts):
        raise LoadError(f"{relative} cannot be imported: a dot in the name of a file or folder; rename it")
    return ".".join(parts)


def package_of(relative: Path) -> str:
    """The package that relative imports in a file start from, by its path below its import folder."""
    return ".".join(relative.parent.parts)


def is_local(filename: str | None) -> bool:
    """Whether code of this file is the user's own: not Python's, not installed, not Celesta's."""
    if not filename or filename.startswith("<"):
        return False
    return _is_local(filename)


@cache
def _is_local(filename: str) -> bool:
    path = Path(filename).resolve()
    if path.is_relative_to(_CELESTA) or {"site-packages", "dist-packages"} & set(path.parts):
        return False
    return not any(path.is_relative_to(folder) for folder in _installed())


@cache
def _installed() -> tuple[Path, ...]:
    paths = sysconfig.get_paths()
    found = [paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")] + site.getsitepackages()
    return tuple(Path(one).resolve() for one in found)


def main_name() -> str:
    """What `__main__` is called when it is imported: by its file, relative to its project."""
    main = sys.modules["__main__"]
    if getattr(main, "__spec__", None) is not None and main.__spec__ is not None:
        return main.__spec__.name.removesuffix(".__main__")
    filename = getattr(main, "__file__", None)
    if filename is None:
        raise SpecError(
            "what is defined in a notebook or an interactive session cannot run elsewhere: "
            "put it into a file (in a notebook: %%writefile flow.py) and import it"
        )
    return Layout(Path(filename)).name_of(Path(filename).resolve())


def _module_file(folder: Path, parts: list[str]) -> Path | None:
    base = folder.joinpath(*parts)
    package = base / "__init__.py"
    if package.is_file():
        return package
    module = base.with_name(base.name + ".py")
    return module if module.is_file() else None
