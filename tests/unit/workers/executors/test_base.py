"""Executors are found by name, and an unknown name says which are known."""

import importlib
import inspect
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from celesta.errors import ConfigError
from workers.executors import Executor, get
from workers.executors.base import KNOWN


@pytest.fixture
def config(tmp_path: Path) -> Any:
    return SimpleNamespace(
        home=tmp_path, slots=2, memory_bytes=2**30, store_url=f"file://{tmp_path}/store", s3_endpoint_url=None
    )


def test_a_known_name_and_a_dotted_path_find_the_same(config: Any) -> None:
    by_name = get("process", config)
    assert type(get("workers.executors.process:ProcessExecutor", config)) is type(by_name)
    assert by_name.capabilities.live_logs


@pytest.mark.parametrize("name", KNOWN)
def test_every_known_executor_is_made_with_all_that_the_base_takes(name: str) -> None:
    module, _, attribute = KNOWN[name].partition(":")
    made = inspect.signature(getattr(importlib.import_module(module), attribute))
    assert list(made.parameters) == list(inspect.signature(Executor).parameters)


def test_an_unknown_name_names_those_that_are_known(config: Any) -> None:
    with pytest.raises(ConfigError, match=r"no executor 'nowhere'.*process.*package\.module:Class"):
        get("nowhere", config)


@pytest.mark.parametrize("name", ["no.such.module:Class", "workers.executors.base:Nothing", "pathlib:Path"])
def test_a_path_that_leads_nowhere_is_refused(config: Any, name: str) -> None:
    with pytest.raises(ConfigError, match=f"executor '{name}'"):
        get(name, config)


def test_hooks_do_nothing_by_default(config: Any) -> None:
    executor = Executor(config)
    assert executor.cancel("r", "0", "1.1") is False
    assert executor.logs("r", "0", "1.1") is None
    with pytest.raises(NotImplementedError):
        executor.reconcile({})
    executor.close()
