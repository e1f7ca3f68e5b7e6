"""Files of users, imported as their steps will import them."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from celesta.errors import LoadError, NotFoundError
from celesta.loading import load_file

FLOW = "from celesta import task\nfrom {} import V\n@task\ndef f() -> int: return V\n"


@pytest.fixture(autouse=True)
def _own_imports() -> Iterator[None]:
    modules, path, finders = dict(sys.modules), list(sys.path), list(sys.meta_path)
    for name in [name for name in modules if name.partition(".")[0] in ("app", "workers")]:
        del sys.modules[name]
    yield
    sys.path[:], sys.meta_path[:] = path, finders
    for name in set(sys.modules) - set(modules):
        del sys.modules[name]
    sys.modules.update(modules)


@pytest.mark.parametrize("package", ["app", "workers"])
@pytest.mark.parametrize("regular", [True, False])
def test_packages_named_like_those_of_the_servers_are_the_users(tmp_path: Path, package: str, regular: bool) -> None:
    (tmp_path / package).mkdir()
    (tmp_path / package / "core.py").write_text("V = 7\n")
    if regular:
        (tmp_path / package / "__init__.py").touch()
    (tmp_path / "flow_servers.py").write_text(FLOW.format(f"{package}.core"))
    assert load_file(tmp_path / "flow_servers.py").tasks["f"]() == 7


def test_a_file_that_does_not_import_shows_its_own_traceback_only(tmp_path: Path) -> None:
    (tmp_path / "flow_broken.py").write_text("def g():\n    return 1 / 0\ng()\n")
    with pytest.raises(LoadError, match=r"flow_broken\.py does not import: ZeroDivisionError") as caught:
        load_file(tmp_path / "flow_broken.py")
    assert 'flow_broken.py", line 2, in g' in caught.value.traceback
    assert "loading.py" not in caught.value.traceback


def test_a_second_load_sees_what_was_edited(tmp_path: Path) -> None:
    (tmp_path / "flow_twice.py").write_text(FLOW.format("lib_twice"))
    for value in (1, 2):
        (tmp_path / "lib_twice.py").write_text(f"V = {value}\n")
        assert load_file(tmp_path / "flow_twice.py").tasks["f"]() == value


def test_an_unknown_name_is_told_with_those_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "lib_names.py").write_text("V = 1\n")
    (tmp_path / "flow_names.py").write_text(FLOW.format("lib_names"))
    with pytest.raises(NotFoundError, match="tasks: f"):
        load_file(tmp_path / "flow_names.py").find("g")
