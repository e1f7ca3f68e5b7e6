"""Correct files with one workflow each that cannot be run as asked."""

from celesta import task, workflow


@task
def double(number: int) -> int:
    return 2 * number


@workflow
def doubled(number: int) -> int:
    return double(number=number)


@workflow
def optional(number: int = 1) -> int:
    return double(number=number)
