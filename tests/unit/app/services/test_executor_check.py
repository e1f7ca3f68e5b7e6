"""What is refused at a launch is what the executors cannot do."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import pytest

from app.compiler import compile_plan
from app.compiler.plan import Plan
from app.services.executor_check import WITHOUT_CONTAINERS, require_executors
from celesta.errors import InputError
from tests.unit.app.specs import spec, step, task, value
from workers.executors.base import KNOWN


@dataclass
class Config:
    executor: str


def plan(**options: Any) -> Plan:
    command = task("resize", kind="container", entrypoint=None, command=["x"], image="i", **options)
    steps = [step("resize", inputs={"x": value(1)}), step("train", inputs={"x": value(1)})]
    return Plan(compile_plan(spec([command, task("train")], steps)))


def test_the_known_executors_without_containers_are_those_that_say_so() -> None:
    found = set()
    for name, path in KNOWN.items():
        module, _, attribute = path.partition(":")
        if not getattr(import_module(module), attribute).capabilities.containers:
            found.add(name)
    assert found == WITHOUT_CONTAINERS


def test_a_step_that_nothing_can_run_is_named_with_what_to_do() -> None:
    with pytest.raises(InputError) as raised:
        require_executors(plan(), Config("process"))  # type: ignore[arg-type]
    assert "CELESTA_EXECUTOR" in str(raised.value)
    assert [problem.where for problem in raised.value.problems] == ["steps.resize"]


def test_where_the_deployment_or_the_step_has_an_executor_for_it_it_is_launched() -> None:
    for found, executor in ((plan(), "docker"), (plan(executor="kubernetes"), "process"), (plan(), "mine.own:Runner")):
        require_executors(found, Config(executor))  # type: ignore[arg-type]
