"""The language used wrongly, in ways that only a run can tell."""

from typing import Any

from celesta import approve, dynamic, task, when, workflow


@task
def text() -> Any:
    return "yes"


@task
def short() -> list[int]:
    return [1, 2]


@task
def long() -> list[int]:
    return [1, 2, 3]


@task
def add(x: int, y: int) -> int:
    return x + y


@task
def double(x: int) -> int:
    return 2 * x


@dynamic
def endless(n: int) -> int:
    return endless(n=n)


@workflow
def branch() -> int:
    return when(text(), then=lambda: double(x=1), otherwise=lambda: double(x=2))


@workflow
def scalar() -> list[int]:
    return double.map(x=text())


@workflow
def lengths() -> list[int]:
    return add.map(x=short(), y=long())


@workflow
def without_end() -> int:
    return endless(n=1)


@workflow
def asks() -> int:
    sure = approve("Deploy?", name="sure", role="owner")
    return double.with_options(after=[sure])(x=1)


@workflow
def fine() -> int:
    return double(x=double(x=1))
