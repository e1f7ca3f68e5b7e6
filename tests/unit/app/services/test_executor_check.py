"""What is refused at a launch is what the executors cannot do."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import pytest

from app.compiler import compile_plan
from app.compiler.plan import Plan
from app.services import executor_check
from app.services.executor_check import WITHOUT_CONTAINERS, require_executors, require_known_executors
from celesta.errors import InputError, SpecError
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


def test_the_executors_that_may_be_named_are_those_that_the_workers_have() -> None:
    assert KNOWN.keys() == executor_check.KNOWN


def test_an_executor_that_does_not_exist_is_refused_with_every_place_that_names_it() -> None:
    steps = [
        step("train", inputs={"x": value(1)}),
        step("train#2", inputs={"x": value(1)}, options={"executor": "mainframe"}),
        step("train#3", inputs={"x": value(1)}, options={"executor": "mine.executors:Mine"}),
    ]
    named = spec([task("train", executor="docked")], steps)
    with pytest.raises(SpecError, match=r'(?s)"docked": known are docker, kubernetes, process.*"mainframe"') as raised:
        require_known_executors(named)
    assert [problem.where for problem in raised.value.problems] == [
        "tasks.train.executor",
        "steps.train#2.options.executor",
    ]
