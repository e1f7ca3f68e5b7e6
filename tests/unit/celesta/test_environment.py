import platform
from importlib import metadata
from types import SimpleNamespace
from typing import Any

import pytest

from celesta.environment import environment_digest


def fresh() -> str:
    environment_digest.cache_clear()
    try:
        return environment_digest()
    finally:
        environment_digest.cache_clear()


def package(name: str, version: str) -> Any:
    return SimpleNamespace(name=name, version=version)


def test_packages_and_python_make_the_environment_and_their_order_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [package("numpy", "1"), package("Pandas", "2")]
    monkeypatch.setattr(metadata, "distributions", lambda: found)
    before = fresh()
    found.reverse()
    assert fresh() == before
    found[0] = package("pandas", "3")
    assert fresh() != before
    found[0] = package("pandas", "2")
    assert fresh() == before
    monkeypatch.setattr(platform, "python_version", lambda: "3.99")
    assert fresh() != before
