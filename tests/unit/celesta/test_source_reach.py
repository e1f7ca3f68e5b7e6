"""What a function reaches: a change to any of it is a change of the code, however it was put there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from celesta.errors import SourceError
from tests.unit.celesta.conftest import Project

FACTORY = "def make(k):\n    class M:\n        {}\n    return M\nM = make(2)\ndef f(x): return M().p(x)\n"
BRANCH = "OLD = True\nif OLD:\n    class M:\n        {}\nelse:\n    class M:\n        {}\ndef f(x): return M().p\n"
BASE = """
def make(k):
    class A: pass
    A.p = k
    class B(A): pass
    return B
B = make(2)
def f(): return B.p
"""
METHOD = """
import functools
class C:
    @functools.singledispatchmethod
    def p(self, x): return 0
def q(self, x): return 1
C.__dict__["p"].register(int, q)
def f(x): return C().p(x)
"""
SETTER = """
class C: pass
def get(self): return 1
def set(self, v): self.v = v + 1
C.p = property(get, set)
def f(): C().p = 1
"""
WRAPPED = """
import functools
class Times:
    def __init__(self, g, k): self.g, self.k = g, k; functools.update_wrapper(self, g)
    def __call__(self, x): return self.k * self.g(x) + 1
def g(x): return x
h = Times(g, 2)
def f(x): return h(x)
"""


@pytest.mark.parametrize(
    ("what", "text", "before", "after"),
    [
        ("a variable that a class made in a function closes over", FACTORY.format("def p(self, x): return x * k"),
         "make(2)", "make(3)"),
        ("a variable in the body of such a class", FACTORY.format("p = [k].count"), "make(2)", "make(3)"),
        ("a base in such a function", BASE, "make(2)", "make(3)"),
        ("which branch defined a class", BRANCH.format("def p(self): return 1", "def p(self): return 2"),
         "OLD = True", "OLD = False"),
        ("which branch defined a class of data", BRANCH.format("p = 1", "p = 2"), "OLD = True", "OLD = False"),
        ("an attribute set on a class", "class C: pass\nC.p = 1\ndef f(): return C.p\n", "C.p = 1", "C.p = 2"),
        ("an attribute set anew", "class C:\n    p = 0\nC.p = 1\ndef f(): return C.p\n", "C.p = 1", "C.p = 2"),
        ("a method put on a class", "class C: pass\ndef g(self): return 1\nC.p = g\ndef f(): return C().p()\n",
         "return 1", "return 2"),
        ("the setter of a property", SETTER, "v + 1", "v + 2"),
        ("what a class decorator puts there", "def put(k):\n    def inner(c):\n        c.p = k\n        return c\n"
         "    return inner\nclass C: pass\nD = put(1)(C)\ndef f(): return C.p\n", "put(1)", "put(2)"),
        ("a function registered for a type", "import functools\n@functools.singledispatch\ndef h(x): return 0\n"
         "@h.register\ndef _(x: int): return 1\ndef f(x): return h(x)\n", "return 1", "return 2"),
        ("a method registered for a type", METHOD, "return 1", "return 2"),
        ("a class named in a quoted hint",
         "class P:\n    def n(self): return 1\ndef f(p: 'list[P]'): return p[0].n()\n",
         "return 1", "return 2"),
        ("an attribute of a function", "def h(): return h.k\nh.k = 1\ndef f(): return h()\n", "h.k = 1", "h.k = 2"),
        ("what a wrapping object holds", WRAPPED, "Times(g, 2)", "Times(g, 3)"),
        ("how a wrapping object calls", WRAPPED, "(x) + 1", "(x) + 2"),
        ("the length of a deque", "import collections\nD = collections.deque([1], 5)\ndef f(): return D\n", "5)", "6)"),
        ("an attribute of a derived list",
         "class L(list): pass\nV = L()\nV.k = 1\ndef f(): return V.k\n", "k = 1", "k = 2"),
        ("an attribute of a derived date", "import datetime\nclass D(datetime.date): pass\nV = D(2024, 1, 1)\nV.k = 1\n"
         "def f(): return V.k\n", "k = 1", "k = 2"),
        ("a name from an installed package", "from scipy.stats import norm as d\ndef f(x): return d.pdf(x)\n",
         "import norm", "import uniform"),
    ],
)  # fmt: skip
def test_a_change_changes_the_digest(project: Project, what: str, text: str, before: str, after: str) -> None:
    assert before in text
    assert project.digest(text) == project.digest(text), what
    assert project.digest(text) != project.digest(text.replace(before, after)), what


def test_an_edit_of_the_branch_that_is_not_taken_changes_nothing(project: Project) -> None:
    text = BRANCH.format("def p(self): return 1", "def p(self): return 2")
    assert project.digest(text) == project.digest(text.replace("return 2", "return 3"))


def test_a_name_that_another_local_module_took_from_a_package_counts_by_its_name(project: Project) -> None:
    direct = "from scipy.stats import norm\ndef f(x): return norm.pdf(x)\n"
    through = direct.replace("scipy.stats", "lib_dist")
    text = "from scipy.stats import norm\n"
    assert project.digest(through, lib_dist=text) == project.digest(direct)
    with pytest.raises(SourceError, match="norm"):
        project.digest(through, lib_dist="from scipy.stats import norm as n\nnorm = n\n")


@pytest.mark.parametrize(
    "value",
    [
        "np.busdaycalendar(holidays=['2024-01-01'])",
        "pd.Period('2024-01')",
        "pd.Interval(1, 2)",
        "operator.methodcaller('x', object())",
    ],
)
def test_an_object_in_c_that_claims_a_module_in_python_is_never_a_constant(project: Project, value: str) -> None:
    text = f"import operator\nimport numpy as np\nimport pandas as pd\nV = {value}\ndef f(): return V\n"
    with pytest.raises(SourceError, match='"f -> V" is a'):
        project.digest(text)


def test_what_an_installed_object_holds_inside_is_not_told(project: Project) -> None:
    with pytest.raises(SourceError) as caught:
        project.digest("import pandas as pd\nV = pd.Series([1])\ndef f(): return V\n")
    assert '"f -> V" is a pandas' in str(caught.value)
    assert "_mgr" not in str(caught.value)


SETS = """
import dataclasses, datetime
class A: k = 1
class B: k = 2
class C: k = 3
@dataclasses.dataclass(frozen=True)
class D: name: str
class Zone(datetime.tzinfo): pass
def g(): return 1
def h(): return 2
def f():
    return {A, B, C}, {(A, "a"), (B, "b"), (C, "c")}, {g, h}, {D("a"), D("b"), A}, Zone()
V = f()
del f
def f(): return V
"""


def test_sets_of_classes_and_objects_without_a_repr_are_the_same_in_every_process(tmp_path: Path) -> None:
    (tmp_path / "sets_flow.py").write_text(SETS)
    code = "import sys; pad = [object() for _ in range(int(sys.argv[1]))]; import sets_flow;"
    code += "from celesta.source import code_digest; print(code_digest(sets_flow.f))"
    found = {
        subprocess.run(
            [sys.executable, "-c", code, pad],
            cwd=tmp_path,
            env={"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": os.pathsep.join([str(Path.cwd()), str(tmp_path)])},
            capture_output=True, text=True, timeout=60, check=True,
        ).stdout
        for pad in ("0", "1000", "77777", "54321")
    }  # fmt: skip
    assert len(found) == 1
