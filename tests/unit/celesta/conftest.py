"""What tests of the SDK share: modules of users for code digests, and workflows that run locally."""

import importlib.util
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from celesta.source import code_digest
from tests.unit.celesta.local.flow import MODULE, Flow

_count = itertools.count()


class Project:
    """A folder of modules, imported under names that are new each time."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def digest(self, text: str, *, name: str = "f", strict: bool = True, **others: str) -> str:
        """The digest of `name` in a module of this text, beside other modules."""
        module = self.load(text, **others)
        function = getattr(module, name)
        return code_digest(getattr(function, "function", function), strict=strict)

    def load(self, text: str, **others: str) -> Any:
        folder = self.root / f"p{next(_count)}"
        folder.mkdir()
        for other, content in others.items():
            (folder / f"{other}.py").write_text(content)
            sys.modules.pop(other, None)
        path = folder / f"flow{next(_count)}.py"
        path.write_text(text)
        sys.path.insert(0, str(folder))
        try:
            spec = importlib.util.spec_from_file_location(path.stem, path)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[path.stem] = module
            spec.loader.exec_module(module)
        finally:
            sys.path.remove(str(folder))
        return module


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    modules, path, cached = set(sys.modules), list(sys.path), sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    yield Project(tmp_path)
    sys.dont_write_bytecode = cached
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.startswith(("flow", "lib_")):
            del sys.modules[name]


@pytest.fixture
def flow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Flow:
    flow = Flow(tmp_path)
    monkeypatch.setitem(sys.modules, MODULE, flow.module)
    return flow
