"""A change to anything that a task reaches changes its key: a stale hit is wrong science.

Each row is one way of reaching something, with an edit of it. `test_source_reach` has the ways of classes.
"""

# ruff: noqa: E501  (a row with its code is read whole)

import ast
import math
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from celesta.hashing import cache_components, cache_key
from celesta.source import code_digest
from celesta.spec import workflow_spec
from celesta.syntax import normal
from tests.unit.celesta.conftest import Project

HEAD = "import dataclasses, enum, functools, typing\nfrom celesta import task, workflow\n"
WAYS = {
    "a module constant": ("RATE = 1\ndef f(x: int): return x * RATE\n", "RATE = 1", "RATE = 2"),
    "a constant of a constant": ("A = 1\nB = [A, {'k': A}]\ndef f(x: int): return B\n", "A = 1", "A = 2"),
    "the type of a constant": ("RATE = 1\ndef f(x: int): return x * RATE\n", "RATE = 1", "RATE = True"),
    "a constant inside the body": ("def f(x: int): return x * 1\n", "x * 1", "x * 1.0"),
    "a dict of functions": ("def g(): return 1\nD = {'g': g}\ndef f(x: int): return D['g']()\n", "return 1", "return 2"),
    "a helper of a helper": ("def h(): return 1\ndef g(): return h()\ndef f(x: int): return g()\n", "return 1", "return 2"),
    "a lambda": ("g = lambda x: x + 1\ndef f(x: int): return g(x)\n", "x + 1", "x + 2"),
    "a partial": ("def g(a, x): return x\nh = functools.partial(g, 1)\ndef f(x: int): return h(x)\n", "g, 1", "g, 2"),
    "a closure": ("def make(k):\n    def g(): return k\n    return g\ng = make(1)\ndef f(x: int): return g()\n",
                  "make(1)", "make(2)"),
    "a closure of a closure": ("def make(k):\n    def a():\n        def b(): return k\n        return b\n    return a()\n"
                               "g = make(1)\ndef f(x: int): return g()\n", "make(1)", "make(2)"),
    "a default": ("def f(x: int, n: int = 1): return n\n", "int = 1", "int = 2"),
    "a default that only keywords reach": ("def f(x: int, *, n: int = 1): return n\n", "int = 1", "int = 2"),
    "a default of a helper": ("def g(n=1): return n\ndef f(x: int): return g()\n", "n=1", "n=2"),
    "a default that is a constant": ("N = 1\ndef g(n=N): return n\ndef f(x: int): return g()\n", "N = 1", "N = 2"),
    "a method": ("class C:\n    def m(self): return 1\ndef f(x: int): return C().m()\n", "return 1", "return 2"),
    "a class attribute": ("class C:\n    k = 1\ndef f(x: int): return C.k\n", "k = 1", "k = 2"),
    "a base class": ("class B:\n    k = 1\nclass C(B): pass\ndef f(x: int): return C.k\n", "k = 1", "k = 2"),
    "which base class": ("class A:\n    k = 1\nclass B:\n    k = 2\nclass C(A): pass\ndef f(x: int): return C.k\n",
                         "C(A)", "C(B)"),
    "a static method": ("class C:\n    @staticmethod\n    def m(): return 1\ndef f(x: int): return C.m()\n", "return 1", "return 2"),
    "a property": ("class C:\n    @property\n    def m(self): return 1\ndef f(x: int): return C().m\n", "return 1", "return 2"),
    "what an object holds": ("class C:\n    def __init__(self, k): self.k = k\nO = C(1)\ndef f(x: int): return O.k\n",
                             "C(1)", "C(2)"),
    "a field's default": ("@dataclasses.dataclass\nclass P:\n    k: int = 1\ndef f(x: int): return P()\n", "= 1", "= 2"),
    "a member of an enum": ("class E(enum.Enum):\n    A = 1\ndef f(x: int): return E.A\n", "A = 1", "A = 2"),
    "a field of a tuple": ("class P(typing.NamedTuple):\n    k: int = 1\ndef f(x: int): return P()\n", "= 1", "= 2"),
    "a decorator's argument": ("def times(k):\n    def wrap(g):\n        @functools.wraps(g)\n        def inner(): return k * g()\n"
                               "        return inner\n    return wrap\n@times(2)\ndef g(): return 1\ndef f(x: int): return g()\n",
                               "times(2)", "times(3)"),
    "a global that a helper sets": ("N = 0\ndef g():\n    global N\n    N = 1\ndef f(x: int): return g()\n", "N = 1", "N = 2"),
    "a comprehension": ("K = 1\ndef f(x: int): return [K for _ in range(2)]\n", "K = 1", "K = 2"),
    "a format": ("W = 1\ndef f(x: int): return f'{x:{W}}'\n", "W = 1", "W = 2"),
    "a format's text": ("def f(x: int): return f'{x:>3}'\n", ":>3", ":<3"),
    "a pattern": ("class K:\n    A = 1\ndef f(x: int):\n    match x:\n        case K.A: return 1\n", "A = 1", "A = 2"),
    "an async helper": ("async def g(): return 1\nasync def f(x: int): return await g()\n", "return 1", "return 2"),
    "a generator": ("def g():\n    yield 1\ndef f(x: int): return list(g())\n", "yield 1", "yield 2"),
    "the order of arguments": ("def g(a, b): return a\ndef f(x: int): return g(x, 1)\n", "def g(a, b)", "def g(b, a)"),
    "an exception's handler": ("def f(x: int):\n    try: return 1 / x\n    except ValueError: return 0\n", "ValueError", "OSError"),
    "a type of the interface": ("def f(x: int): return x\n", "x: int", "x: float"),
}  # fmt: skip


def key_of(project: Project, text: str) -> str:
    """The key of a step that calls `f(1)`, as it stands in the spec that would be posted."""
    task = text.replace("async def f(", "@task(cache=True)\nasync def f(").replace(
        "\ndef f(", "\n@task(cache=True)\ndef f("
    )
    task = f"@task(cache=True)\n{task}" if text.startswith("def f(") else task
    module = project.load(f"{HEAD}{task}\n@workflow\ndef flow(): return f(1)\n")
    spec, _ = workflow_spec(module.flow, file=module.__file__)
    inputs = {name: binding["value"] for name, binding in spec["steps"][0]["inputs"].items()}
    return cache_key(cache_components(spec["tasks"]["f"], inputs))


@pytest.mark.parametrize("way", WAYS)
def test_an_edit_of_what_a_task_reaches_changes_its_key(project: Project, way: str) -> None:
    text, before, after = WAYS[way]
    assert before in text
    first = key_of(project, text)
    assert key_of(project, text) == first, "the same text has the same key"
    assert key_of(project, text.replace(before, after, 1)) != first, way


@pytest.mark.parametrize(
    ("what", "library", "use"),
    [
        ("a constant of another module", "RATE = 1\n", "from lib_stale import RATE\ndef f(x: int): return RATE\n"),
        ("an attribute of another module", "RATE = 1\n", "import lib_stale\ndef f(x: int): return lib_stale.RATE\n"),
        ("under another name", "RATE = 1\n", "import lib_stale as l\ndef f(x: int): return l.RATE\n"),
        ("a function of another module", "def g(): return 1\n", "from lib_stale import g\ndef f(x: int): return g()\n"),
        ("a module imported inside", "RATE = 1\n", "def f(x: int):\n    from lib_stale import RATE\n    return RATE\n"),
    ],
)
def test_an_edit_of_another_module_that_is_reached_changes_the_digest(
    project: Project, what: str, library: str, use: str
) -> None:
    before = project.digest(use, lib_stale=library)
    assert project.digest(use, lib_stale=library) == before
    assert project.digest(use, lib_stale=library.replace("1", "2")) != before, what


BELOW = {
    "a method": ("@dataclasses.dataclass\nclass A:\n    k: int\n@dataclasses.dataclass(slots=True)\nclass B(A):\n"
                 "    def m(self): return 1\ndef f(a: A): return a.m()\n"),
    "a helper, from a list": ("def g(): return 1\n@dataclasses.dataclass\nclass A:\n    k: int\nclass B(A): pass\nclass C(B):\n"
                              "    def m(self): return g()\ndef f(a: list[A] | None): return a[0].m()\n"),
}  # fmt: skip


@pytest.mark.parametrize("what", BELOW)
def test_an_edit_of_a_class_below_that_of_a_hint_changes_the_digest(project: Project, what: str) -> None:
    text = f"import dataclasses\n{BELOW[what]}"
    before = project.digest(text)
    assert project.digest(text) == before
    assert project.digest(text.replace("return 1", "return 2")) != before
    assert project.digest(text + "class Other:\n    pass\n") == before


def test_a_class_of_another_bundle_below_that_of_a_hint_changes_nothing(project: Project) -> None:
    module = project.load(f"import dataclasses\n{BELOW['a method']}")
    files = {Path(module.__file__).resolve()}
    before = code_digest(module.f, files=files)
    project.load(f"import {module.__name__} as other\nclass Heir(other.A):\n    pass\n")
    assert code_digest(module.f, files=files) == before != code_digest(module.f)


@pytest.mark.parametrize("made", ["B = type('B', (A,), {'m': lambda self: 1})", "Ints = Box[int]"])
def test_a_class_without_a_text_below_that_of_a_hint_refuses_nothing(project: Project, made: str) -> None:
    text = (
        "import dataclasses, typing, pydantic\nT = typing.TypeVar('T')\nclass Box(pydantic.BaseModel, typing.Generic[T]):\n    x: T\n"
        f"class A:\n    pass\n{made}\ndef f(a: A, b: Box): return a.m()\n"
    )
    assert project.digest(text) == project.digest(text.replace(made, ""))


# Searched for, not thought of

constants = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 300)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(string.ascii_letters + "\n'\"{}\\ä\0", max_size=4)
    | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=2),
    max_leaves=5,
)  # fmt: skip


def identity(value: Any) -> Any:
    if isinstance(value, float):
        return float, value.hex(), math.copysign(1, value)
    if isinstance(value, list | tuple):
        return type(value), tuple(map(identity, value))
    if isinstance(value, dict):
        return dict, tuple(sorted((key, repr(identity(item))) for key, item in value.items()))
    return type(value), value


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(constants, constants)
def test_two_constants_give_one_digest_exactly_when_they_are_the_same(project: Project, one: Any, other: Any) -> None:
    text = "VALUE = {!r}\ndef f(): return VALUE\n"
    same = identity(one) == identity(other)
    assert (project.digest(text.format(one)) == project.digest(text.format(other))) == same


@settings(max_examples=200, deadline=None)
@given(constants, constants)
def test_two_literals_in_code_have_one_normal_form_exactly_when_they_are_the_same(one: Any, other: Any) -> None:
    assume(identity(one) == identity(other) or repr(one) != repr(other))
    forms = [normal(ast.parse(repr(value))) for value in (one, other)]
    ordered = repr(one) == repr(other)  # in a body the order of a dict is its evaluation, so it counts there
    assert (forms[0] == forms[1]) == ordered
