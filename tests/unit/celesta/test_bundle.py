"""Bundles and loading: what travels with a file, and what is said of one that does not import."""

import io
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from celesta import bundle
from celesta.bundle import pack, reached_files
from celesta.errors import LoadError, NotFoundError, SpecError, TooLarge
from celesta.layout import Layout, is_local
from celesta.loading import load_file

FLOW = """
from celesta.tasks import task
from celesta.workflows import workflow

@task
def load() -> int:
    return 1

@workflow
def flow() -> int:
    return load()
"""


@pytest.fixture(autouse=True)
def same_path() -> Iterator[None]:
    before = list(sys.path)
    yield
    sys.path[:] = before


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def bundled(file: Path) -> tuple[str, bytes]:
    return pack(reached_files(Layout(file)), file.name)


def names(file: Path) -> list[str]:
    return zipfile.ZipFile(io.BytesIO(bundled(file)[1])).namelist()


def test_a_bundle_holds_what_the_file_reaches_and_no_more(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "pyproject.toml": "",
            "celesta/__init__.py": "",
            "flow.py": "import os, json, numpy, celesta\nimport helpers\ndef f():\n    from pkg.deep import thing\n",
            "helpers.py": "import importlib\nimportlib.import_module('late')\n",
            "late.py": "",
            "unused.py": "",
            "pkg/__init__.py": "",
            "pkg/deep.py": "from . import other\nfrom .sub.more import x\n",
            "pkg/other.py": "import far\n",
            "pkg/words.txt": "data",
            "pkg/sub/more.py": "",
            "pkg/__pycache__/x.pyc": "",
            "pkg/.hidden": "",
            "far.py": "",
        },
    )
    assert names(tmp_path / "flow.py") == [
        "far.py", "flow.py", "helpers.py", "late.py", "pkg/__init__.py", "pkg/deep.py", "pkg/other.py",
        "pkg/sub/more.py", "pkg/words.txt",
    ]  # fmt: skip


def test_paths_in_a_bundle_are_import_paths(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "setup.cfg": "",
            "src/lib/__init__.py": "",
            "flows/train.py": "import lib, near, flows.shared",
            "flows/near.py": "",
            "flows/shared.py": "",
        },
    )
    assert names(tmp_path / "flows/train.py") == ["flows/shared.py", "flows/train.py", "lib/__init__.py", "near.py"]
    assert Layout(tmp_path / "flows/train.py").name_of(tmp_path / "flows/train.py") == "flows.train"


def test_the_root_is_the_nearest_project_file_or_the_files_folder(tmp_path: Path) -> None:
    write(tmp_path, {"a/requirements.txt": "", "a/b/c/flow.py": "", "d/flow.py": ""})
    assert Layout(tmp_path / "a/b/c/flow.py").root == tmp_path / "a"
    assert Layout(tmp_path / "d/flow.py").root == tmp_path / "d"


def test_the_same_content_is_the_same_bundle_wherever_and_whenever(tmp_path: Path) -> None:
    one = write(tmp_path / "one", {"flow.py": "import b, a", "a.py": "", "b.py": ""})
    two = write(tmp_path / "two", {"b.py": "", "a.py": "", "flow.py": "import b, a"})
    (two / "a.py").chmod(0o755)
    assert bundled(one / "flow.py") == bundled(two / "flow.py")
    (two / "a.py").write_text("x = 1")
    assert bundled(one / "flow.py")[0] != bundled(two / "flow.py")[0]


def test_a_bundle_past_its_limit_names_what_is_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"flow.py": "import big", "big.py": "#" * 2000})
    monkeypatch.setattr(bundle, "MAX_BYTES", 1000)
    with pytest.raises(TooLarge, match=r"largest are big\.py"):
        bundled(tmp_path / "flow.py")


def test_what_is_not_python_in_a_package_travels_unread(tmp_path: Path) -> None:
    write(tmp_path, {"flow.py": "import pkg", "pkg/__init__.py": "", "pkg/template.py": "class {{ name }}:"})
    assert "pkg/template.py" in names(tmp_path / "flow.py")


def test_a_file_is_loaded_under_its_name_in_the_project(tmp_path: Path) -> None:
    write(tmp_path, {"pyproject.toml": "", "sdk_flows/one.py": FLOW})
    loaded = load_file(tmp_path / "sdk_flows/one.py")
    assert loaded.module.__name__ == "sdk_flows.one"
    assert (list(loaded.workflows), list(loaded.tasks)) == (["flow"], ["load"])
    assert loaded.find("load").function() == 1
    assert loaded.find("load") is loaded.tasks["load"]


def test_a_file_is_read_afresh_each_time(tmp_path: Path) -> None:
    write(tmp_path, {"sdk_fresh.py": FLOW + "import sdk_near\n", "sdk_near.py": "x = 1"})
    load_file(tmp_path / "sdk_fresh.py")
    write(tmp_path, {"sdk_near.py": "x = 2"})
    assert load_file(tmp_path / "sdk_fresh.py").module.sdk_near.x == 2
    assert not (tmp_path / "__pycache__").exists()


def test_an_unknown_workflow_is_told_with_the_names_that_are_there(tmp_path: Path) -> None:
    write(tmp_path, {"sdk_names.py": FLOW})
    with pytest.raises(NotFoundError, match=r'"flaw" \(did you mean "flow"\?\); workflows: flow; tasks: load'):
        load_file(tmp_path / "sdk_names.py").find("flaw")


def test_a_file_that_does_not_import_shows_its_own_traceback(tmp_path: Path) -> None:
    write(tmp_path, {"sdk_bad.py": "import sdk_worse\n", "sdk_worse.py": "def f():\n    return 1 / 0\nf()\n"})
    with pytest.raises(LoadError, match="ZeroDivisionError: division by zero") as caught:
        load_file(tmp_path / "sdk_bad.py")
    told = caught.value.traceback
    assert 'sdk_worse.py", line 2, in f' in told
    assert "celesta/" not in told
    assert "importlib" not in told


@pytest.mark.parametrize(
    ("text", "told"),
    [("def f(:\n", "SyntaxError"), ("import sys; sys.exit(3)", "SystemExit: 3"), ("raise OSError", "OSError")],
)
def test_whatever_a_file_raises_is_a_load_error(tmp_path: Path, text: str, told: str) -> None:
    write(tmp_path, {"sdk_raises.py": text})
    with pytest.raises(LoadError, match=told):
        load_file(tmp_path / "sdk_raises.py")


def test_a_wrong_task_in_a_file_is_told_as_it_is(tmp_path: Path) -> None:
    write(tmp_path, {"sdk_wrong.py": "from celesta.tasks import task\n@task(retrys=1)\ndef f(): ...\n"})
    with pytest.raises(SpecError, match=r"sdk_wrong\.py:2: task \"f\" has options"):
        load_file(tmp_path / "sdk_wrong.py")


def test_a_name_that_python_has_taken_is_told(tmp_path: Path) -> None:
    write(tmp_path, {"json.py": FLOW})
    with pytest.raises(LoadError, match=r"that name is taken by .*json.*rename the file"):
        load_file(tmp_path / "json.py")
    with pytest.raises(NotFoundError, match="there is no file"):
        load_file(tmp_path / "nothing.py")
    with pytest.raises(LoadError, match=r"must end in \.py"):
        load_file(write(tmp_path, {"flow.txt": ""}) / "flow.txt")


def test_a_users_packages_named_app_and_workers_are_the_users(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "app/__init__.py": "", "app/models.py": "WHO = 'user'", "workers/__init__.py": "from app.models import WHO",
            "app/flow.py": FLOW + "import workers\nassert workers.WHO == 'user'\n", "pyproject.toml": "",
        },
    )  # fmt: skip
    code = "import sys; from celesta.loading import load_file; print(load_file(sys.argv[1]).module.__name__)"
    ran = subprocess.run(
        [sys.executable, "-c", code, "app/flow.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ran.stdout == "app.flow\n", ran.stderr
    assert names(tmp_path / "app/flow.py") == ["app/__init__.py", "app/flow.py", "app/models.py", "workers/__init__.py"]


def test_local_is_what_is_neither_pythons_nor_installed_nor_celestas() -> None:
    assert is_local(__file__)
    assert not is_local(io.__file__)
    assert not is_local(pytest.__file__)
    assert not is_local(bundle.__file__)
    assert not is_local("<string>")
    assert not is_local(None)
