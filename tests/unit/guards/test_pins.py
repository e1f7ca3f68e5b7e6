"""``constraints.txt`` pins everything, so that two fresh machines get the same Celesta."""

import configparser
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return {canonicalize_name(name): version for name, _, version in (s.partition("==") for s in lines if s[0] != "#")}


@pytest.fixture(scope="module")
def declared() -> list[Requirement]:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    listed = setup["options"]["install_requires"].splitlines()
    listed += [line for extra in setup["options.extras_require"].values() for line in extra.splitlines()]
    return [Requirement(line) for line in listed if line and not line.startswith("celesta[")]


def test_declared_and_pinned_versions_agree(pins: dict[str, str], declared: list[Requirement]) -> None:
    assert [str(r) for r in declared if pins.get(canonicalize_name(r.name), "") not in r.specifier] == []


def test_what_the_dependencies_need_is_pinned_too(pins: dict[str, str], declared: list[Requirement]) -> None:
    """Walk what is installed, from what ``make test`` installs."""
    todo = [(r.name, extra) for r in declared for extra in ("", *r.extras)]
    done: set[tuple[str, str]] = set()
    while todo:
        name, extra = todo.pop()
        if (name, extra) in done:
            continue
        done.add((name, extra))
        needed = [Requirement(line) for line in distribution(name).requires or []]
        wanted = [r for r in needed if r.marker is None or r.marker.evaluate({"extra": extra})]
        todo += [(canonicalize_name(r.name), extra) for r in wanted for extra in ("", *r.extras)]
    assert sorted({canonicalize_name(name) for name, _ in done} - pins.keys()) == []
