"""What the tests of executors share: an executor under test, and the means to write bundles and step documents.

The suite in `test_contract.py` runs against every executor of `EXECUTORS`; another one joins by its name. What of it is
not about the worker's host runs in pods as well: `tests/integration/kubernetes/test_contract.py`, `tests/cluster`.
"""

import io
import itertools
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from celesta.codecs import encode, to_plain
from celesta.runtime.processes import descendants
from celesta.store import Store, open_store, prefix_of
from workers.executors import Executor, get

EXECUTORS = ["process"]

NASTY = Path(__file__).with_name("nasty.py").read_text()
ANY = {"kind": "any"}
OPENED = {"p": {"THE_PASSWORD": "PASSWORD_OF_P"}}
"""The secrets that are open to the project of the documents here."""


@dataclass(frozen=True)
class Config:
    """As much of the configuration as executors read."""

    home: Path
    store_url: str
    s3_endpoint_url: str | None = None
    executor: str = "process"
    slots: int = 4
    memory_bytes: int = 2**30
    secrets: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: OPENED)


@dataclass
class Bench:
    """An executor, its store, and short ways to use both."""

    executor: Executor
    config: Config
    store: Store
    logged: list[tuple[str, str, str, bytes]] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def bundle(self, files: dict[str, str] | None = None, **modules: str) -> str:
        """The digest of a stored bundle of these modules, and of files by their path."""
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w") as archive:
            for path, source in {**(files or {}), **{f"{name}.py": text for name, text in modules.items()}}.items():
                archive.writestr(zipfile.ZipInfo(path), source)  # The time of day is no part of a bundle.
        return self.store.put_blob(data.getvalue())

    def document(self, function: str, returns: Any = ANY, bundle: str | None = None, **inputs: Any) -> dict[str, Any]:
        """A step document. `returns` is the type of `result`, or the outputs by name."""
        number = next(self._numbers)
        module, _, name = function.rpartition(":")
        outputs = returns if returns is None or "kind" not in returns else {"result": returns}
        return {
            "step_document": 1,
            "run": "run1",
            "project": "p",
            "node": str(number),
            "path": f"{name}[{number}]",
            "token": "1.1",
            "attempt": 1,
            "idempotency_key": f"run1/{name}",
            "kind": "python",
            "entrypoint": f"{module or 'nasty'}:{name}",
            "bundle": bundle or self.bundle(nasty=NASTY),
            "interface": {
                "inputs": [{"name": name, "type": ANY, "required": True} for name in inputs],
                "outputs": [{"name": name, "type": type_} for name, type_ in (outputs or {}).items()],
            },
            "inputs": {name: encode(value, ANY, self.store) for name, value in inputs.items()},
            "env": {},
            "secrets": {},
            "resources": {},
            "timeout_seconds": 30.0,
            "image": None,
            "store_url": self.config.store_url,
            "cache_key": None,
        }

    def run(self, function: str, **more: Any) -> dict[str, Any]:
        """Submits the step; the result document, which has to be the one in the store."""
        return self.submit(self.document(function, **more))

    def submit(self, document: dict[str, Any]) -> dict[str, Any]:
        """Submits a document; the result document, which has to be the one in the store."""
        result = self.executor.submit(document)
        assert result is not None
        assert json.loads(self.kept(document, "result.json") or b"null") == result
        return result

    def kept(self, document: dict[str, Any], name: str) -> bytes | None:
        """An object of the attempt in the store."""
        return self.store.get(prefix_of(document) + name)

    def value(self, result: dict[str, Any]) -> Any:
        """The plain value of the output `result` of a step that succeeded."""
        assert result["status"] == "succeeded", result["error"]
        return to_plain(result["outputs"]["result"], self.store)

    def error(self, result: dict[str, Any]) -> dict[str, Any]:
        """The error of a step that failed."""
        assert result["status"] == "failed"
        assert result["outputs"] == {}
        return dict(result["error"])


@pytest.fixture(scope="module", params=EXECUTORS)
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """One executor for the tests of a module: they share its zygotes, and must not notice."""
    before = set(descendants(os.getpid()))  # the session's own servers
    home = Path(tempfile.mkdtemp(prefix="celesta-executor-"))
    config = Config(home, f"file://{home}/store")
    logged: list[tuple[str, str, str, bytes]] = []
    executor = get(request.param, config, lambda *piece: logged.append(piece))
    yield Bench(executor, config, open_store(config.store_url), logged)
    executor.close()
    left = set(descendants(os.getpid())) - before
    shutil.rmtree(home, ignore_errors=True)
    assert not left, "the executor left processes behind"
