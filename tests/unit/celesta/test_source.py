"""The code digest: what changes it, what does not, and what has none."""

import hashlib
import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from celesta.errors import SourceError
from celesta.source import code_digest
from tests.unit.celesta.conftest import Project

BASE = """
RATE = 0.1
UNUSED = 1

class Model:
    depth = 3
    def fit(self): return scale(self.depth)

def scale(x, by=2):
    return x * by

def f(n: int = 3):
    return Model().fit() * RATE + n
"""


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("the body", BASE.replace("* RATE + n", "* RATE - n")),
        ("a constant", BASE.replace("RATE = 0.1", "RATE = 0.2")),
        ("the type of a constant", BASE.replace("depth = 3", "depth = 3.0")),
        ("a class attribute", BASE.replace("depth = 3", "depth = 4")),
        ("a helper that a method reaches", BASE.replace("x * by", "x + by")),
        ("a default of a helper", BASE.replace("by=2", "by=3")),
        ("a default", BASE.replace("n: int = 3", "n: int = 4")),
    ],
)
def test_a_change_to_what_is_reached_changes_the_digest(project: Project, what: str, text: str) -> None:
    assert text != BASE
    assert project.digest(text) != project.digest(BASE), what


def test_layout_comments_docs_and_unrelated_code_change_nothing(project: Project) -> None:
    text = '''
"""A module."""
import os

def other(): return 5

def f(
    n: int = 3,
):
    """Documented."""
    # explained
    return (Model().fit()
            * RATE + n)

def scale(x, by=2):
    "Scales."
    return (x * by)

class Model:
    """A model."""
    depth = 3

    def fit(self):
        """Fits."""
        return scale(self.depth)

UNUSED = 2
RATE = 1e-1
'''
    assert project.digest(text) == project.digest(BASE)


def test_the_decorator_of_a_task_is_left_out_and_others_are_not(project: Project) -> None:
    head = "from celesta.tasks import task\nimport celesta.tasks, functools\n"
    plain = project.digest(head + "def f(n: int) -> int: return n\n")
    assert project.digest(head + "@task(cache=True, retries=3)\ndef f(n: int) -> int: return n\n") == plain
    assert project.digest(head + "@celesta.tasks.task\ndef f(n: int) -> int: return n\n") == plain

    helper = "def g(n): return n\ndef f(n): return g(n)\n"
    assert project.digest(head + "@functools.cache\n" + helper) != project.digest(head + helper)


def test_another_task_that_is_called_takes_part_without_its_options(project: Project) -> None:
    text = "from celesta.tasks import task\n@task(retries=1)\ndef g() -> int: return 1\ndef f(): return g()\n"
    assert project.digest(text) == project.digest(text.replace("retries=1", "retries=2"))
    assert project.digest(text) != project.digest(text.replace("return 1", "return 2"))


def test_a_local_decorator_takes_part(project: Project) -> None:
    text = """
import functools
def twice(g):
    @functools.wraps(g)
    def inner(*a): return 2 * g(*a)
    return inner
@twice
def f(n): return n
"""
    assert project.digest(text) == project.digest(text)
    assert project.digest(text) != project.digest(text.replace("2 * g", "3 * g"))
    assert project.digest(text) != project.digest(text.replace("return n\n", "return -n\n"))


def test_closures_take_part(project: Project) -> None:
    text = "def make(k):\n    def f(x): return x * k\n    return f\nf = make(2)\n"
    assert project.digest(text) == project.digest(text.replace("f = make(2)", "f = make(1 + 1)"))
    assert project.digest(text) != project.digest(text.replace("make(2)", "make(3)"))


def test_a_closure_that_is_rebound_takes_part(project: Project) -> None:
    text = "def make(k):\n    def f():\n        nonlocal k\n        k = 3\n    return f\nf = make(2)\n"
    assert project.digest(text) != project.digest(text.replace("make(2)", "make(4)"))


def test_other_local_modules_take_part_by_what_is_used_of_them(project: Project) -> None:
    text = "import lib_a\nfrom lib_b import helper\ndef f(): return lib_a.used() + helper()\n"
    lib_a = "X = 1\ndef used(): return X\ndef unused(): return 2\n"
    lib_b = "import lib_a\nK = 5\ndef helper(): return lib_a.X + K\n"
    base = project.digest(text, lib_a=lib_a, lib_b=lib_b)
    assert project.digest(text, lib_a=lib_a.replace("return 2", "return 3"), lib_b=lib_b) == base
    assert project.digest(text, lib_a=lib_a.replace("X = 1", "X = 2"), lib_b=lib_b) != base
    assert project.digest(text, lib_a=lib_a, lib_b=lib_b.replace("K = 5", "K = 6")) != base


def test_a_module_imported_inside_a_function_counts_as_a_whole(project: Project) -> None:
    text = "def f():\n    import lib_c\n    return lib_c.go()\n"
    lib_c = "import lib_d\ndef go(): return lib_d.V\n"
    base = project.digest(text, lib_c=lib_c, lib_d="V = 1\n")
    assert project.digest(text, lib_c="# new\n" + lib_c, lib_d="V  =  1\n") == base
    assert project.digest(text, lib_c=lib_c, lib_d="V = 2\n") != base


def test_a_relative_import_inside_a_package_is_followed(project: Project) -> None:
    found = []
    for number in (1, 2, 1):
        folder = project.root / f"r{len(found)}"
        (folder / "flow_pkg").mkdir(parents=True)
        (folder / "flow_pkg" / "__init__.py").write_text("def f():\n    from . import part\n    return part.V\n")
        (folder / "flow_pkg" / "part.py").write_text(f"V = {number}\n")
        sys.modules.pop("flow_pkg", None)
        sys.path.insert(0, str(folder))
        found.append(code_digest(importlib.import_module("flow_pkg").f))
        sys.path.remove(str(folder))
    assert found[0] == found[2] != found[1]


def test_installed_code_counts_by_name_only(project: Project) -> None:
    text = "import numpy as np\nfrom json import dumps\nAGG = np.mean\ndef f(x): return dumps(AGG(x))\n"
    base = project.digest(text)
    assert project.digest(text.replace("np.mean", "np.median")) != base
    assert project.digest(text.replace("from json import dumps", "from pickle import dumps")) != base


def test_recursion_and_cycles_end(project: Project) -> None:
    text = """
LOOP = [1]
LOOP.append(LOOP)
def even(n): return n == 0 or odd(n - 1)
def odd(n): return n != 0 and even(n - 1)
def f(n): return f(n - 1) if n else even(n), LOOP
"""
    assert project.digest(text) == project.digest(text)
    assert project.digest(text) != project.digest(text.replace("n != 0 and", "n > 0 and"))


VALUES = """
import collections, dataclasses, datetime, decimal, enum, functools, logging, pathlib, re, sys, threading, types, typing
import numpy as np
import pandas as pd
class Colour(enum.Enum):
    RED = 1
    BLUE = 2
@dataclasses.dataclass(frozen=True)
class Params:
    rate: float = 0.1
Pair = collections.namedtuple("Pair", "a b")
class Slotted:
    __slots__ = ("x",)
    def __init__(self, x): self.x = x
def g(a, b): return a
V = %s
def f(): return V
"""


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1", "True"),
        ("1", "1.0"),
        ("'1'", "b'1'"),
        ("float('nan')", "float('inf')"),
        ("[1, 2]", "(1, 2)"),
        ("{'a': 1}", "{'a': 2}"),
        ("{1, 2}", "frozenset({1, 2})"),
        ("Colour.RED", "Colour.BLUE"),
        ("Params(0.1)", "Params(0.2)"),
        ("Pair(1, 2)", "Pair(2, 1)"),
        ("Slotted(1)", "Slotted(2)"),
        ("types.SimpleNamespace(a=1)", "types.SimpleNamespace(a=2)"),
        ("collections.defaultdict(list)", "collections.defaultdict(set)"),
        ("collections.Counter('aab')", "collections.Counter('ab')"),
        ("functools.partial(g, 1)", "functools.partial(g, 2)"),
        ("lambda x: x + 1", "lambda x: x + 2"),
        ("re.compile('a')", "re.compile('a', re.I)"),
        ("datetime.timedelta(1)", "datetime.timedelta(2)"),
        ("decimal.Decimal('1.0')", "decimal.Decimal('1.00')"),
        ("pathlib.Path('/data/a')", "pathlib.Path('/data/b')"),
        ("np.arange(3)", "np.arange(3.0)"),
        ("np.float32(1)", "np.float64(1)"),
        ("np.dtype('f4')", "np.dtype('f8')"),
        ("pd.DataFrame({'a': [1]})", "pd.DataFrame({'a': [2]})"),
        ("typing.Optional[Params]", "typing.Optional[Colour]"),
        ("list[int]", "list[str]"),
        ("[1, 2].append", "[1].append"),
        ("logging.getLogger('a')", "logging.getLogger('b')"),
        ("threading.Lock()", "None"),
    ],
)
def test_equal_values_are_equal_and_others_are_not(project: Project, one: str, other: str) -> None:
    assert project.digest(VALUES % one) == project.digest(VALUES % one)
    assert project.digest(VALUES % one) != project.digest(VALUES % other)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("sys.__stderr__", 'f -> V" is an open file'),
        ("{'log': [sys.__stderr__]}", "f -> V['log'][0]\" is an open file"),
        ("np.random.default_rng(0)", "numpy.random"),
        ("(i for i in range(3))", "generator"),
        ("Slotted(iter([]))", 'f -> V.x" is a list_iterator'),
    ],
)
def test_what_cannot_be_hashed_is_named_and_never_a_constant(project: Project, value: str, told: str) -> None:
    with pytest.raises(SourceError) as caught:
        project.digest(VALUES % value)
    assert told in str(caught.value)
    assert 'cache="v1"' in str(caught.value)
    assert project.digest(VALUES % value, strict=False) == project.digest(VALUES % value, strict=False)


def test_code_without_source_is_refused(project: Project) -> None:
    with pytest.raises(SourceError, match="made by code"):
        project.digest("exec(compile('def g(): return 1', __file__, 'exec'))\ndef f(): return g()\n")


def test_a_path_below_the_project_does_not_depend_on_the_checkout(project: Project) -> None:
    text = "import pathlib\nDATA = pathlib.Path(__file__).parent / 'data'\ndef f(): return DATA\n"
    assert project.digest(text) == project.digest(text)
    assert project.digest(text) != project.digest(text.replace("'data'", "'more'"))


def test_async_takes_part(project: Project) -> None:
    assert project.digest("async def f(): return 1\n") != project.digest("def f(): return 1\n")


def test_the_digest_is_the_same_in_every_process(tmp_path: Path, project: Project) -> None:
    text = VALUES % "{'a': {3, 1, 2}, 'b': Params(), 'c': frozenset('xyz')}"
    (tmp_path / "sdk_flow.py").write_text(text)
    code = "import sdk_flow; from celesta.source import code_digest; print(code_digest(sdk_flow.f))"
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path, env={"PYTHONHASHSEED": seed, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(Path.cwd())},
            capture_output=True, text=True, timeout=60, check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }  # fmt: skip
    assert found == {project.digest(text)}


def test_a_known_function_keeps_its_digest(project: Project) -> None:
    """A change here makes every cache miss: raise `celesta.source.VERSION` with it, and say so in the changelog."""
    assert hashlib.sha256(project.digest(BASE).encode()).hexdigest()[:16] == "374dace1fb3be341"


def test_a_name_that_is_shadowed_inside_takes_no_part(project: Project) -> None:
    text = "x = 1\ndef f():\n    x = 2\n    return [x for _ in range(3)]\n"
    assert project.digest(text) == project.digest(text.replace("x = 1\n", "x = 9\n"))


def test_nonlocal_and_class_scopes_are_read_rightly(project: Project) -> None:
    text = """
K = 1
def f():
    n = 0
    class C:
        a = K
        def go(self):
            nonlocal n
            n += K
            return n
    return C().go()
"""
    assert project.digest(text) != project.digest(text.replace("K = 1", "K = 2"))


def _noop() -> Callable[[], None]:
    return lambda: None


def test_a_function_of_a_test_module_has_a_digest() -> None:
    assert len(code_digest(_noop)) == 64
