"""Values become files and files values; nothing that a command leaves leads anywhere else."""

import json
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from celesta.codecs import encode, make_dict, to_plain
from celesta.errors import CodecError
from celesta.files import Directory, File
from celesta.runtime.exchange import MOST_JSON_BYTES, lay, take
from celesta.store.local import LocalStore

ANY, INT, FILE, FOLDER = {"kind": "any"}, {"kind": "int"}, {"kind": "file"}, {"kind": "directory"}


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def document(inputs: dict[str, Any] | None = None, **outputs: dict[str, Any]) -> dict[str, Any]:
    return {
        "run": "r",
        "path": "a",
        "node": "0",
        "token": "1.1",
        "inputs": inputs or {},
        "interface": {"inputs": [], "outputs": [{"name": name, "type": type_} for name, type_ in outputs.items()]},
    }


def left(store: LocalStore, folder: Path, script: str, **outputs: dict[str, Any]) -> dict[str, Any]:
    """The result after a command that ran in the folder of the outputs."""
    (folder / "out").mkdir(parents=True)
    subprocess.run(["sh", "-c", script], cwd=folder / "out", check=True)
    return take(document(**outputs), store, str(folder))


def test_each_value_lies_in_its_own_form(store: LocalStore, tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    (tmp_path / "a.txt").write_text("A")
    (tmp_path / "d/e").mkdir(parents=True)
    (tmp_path / "d/e/f.txt").write_text("F")
    values = {
        "file": File(tmp_path / "a.txt"),
        "folder": Directory(tmp_path / "d"),
        "array": numpy.arange(3.0),
        "text": "words",
        "nothing": None,
        "long": ["x" * 200] * 40,
        "large": {"text": "y" * (2 << 20)},
    }
    folder = tmp_path / "celesta"
    lay(document({name: encode(value, ANY, store) for name, value in values.items()}), store, str(folder))
    assert (folder / "in/file").read_text() == "A"
    assert (folder / "in/folder/e/f.txt").read_text() == "F"
    assert numpy.load(folder / "in/array").tolist() == [0.0, 1.0, 2.0]
    for name in ("text", "nothing", "long", "large"):
        assert json.loads((folder / "in" / name).read_text()) == values[name], name
    assert not (folder / "in/file").stat().st_mode & 0o222
    assert (folder / "out").is_dir()


def test_moments_lie_as_iso_8601_without_the_name_of_their_zone(store: LocalStore, tmp_path: Path) -> None:
    moment = datetime(2024, 3, 9, 12, tzinfo=ZoneInfo("America/New_York"))
    values = {"one": moment, "keyed": {moment: [moment]}, "many": [[moment]] * 40}
    lay(document({name: encode(value, ANY, store) for name, value in values.items()}), store, str(tmp_path / "c"))
    iso = "2024-03-09T12:00:00-05:00"
    told = {"one": iso, "keyed": {iso: [iso]}, "many": [[iso]] * 40}
    assert {name: json.loads((tmp_path / "c/in" / name).read_text()) for name in values} == told


def test_a_large_list_inside_a_dict_lies_as_a_whole(store: LocalStore, tmp_path: Path) -> None:
    long = encode(["x" * 100_000] * 20, ANY, store)
    lay(document({"d": make_dict({"long": long}, store)}), store, str(tmp_path / "c"))
    assert json.loads((tmp_path / "c/in/d").read_text()) == {"long": ["x" * 100_000] * 20}


@pytest.mark.parametrize("shape", ["in a dict", "in a list", "deeper"])
def test_a_file_inside_another_value_is_refused_by_name(store: LocalStore, tmp_path: Path, shape: str) -> None:
    (tmp_path / "a").write_text("A")
    file = File(tmp_path / "a")
    value = {"in a dict": {"f": file}, "in a list": [1, file], "deeper": [{"f": ["x" * 4_000, file]}]}[shape]
    with pytest.raises(CodecError, match="input 'pair' holds a file inside"):
        lay(document({"pair": encode(value, ANY, store)}), store, str(tmp_path / "c"))


def test_outputs_are_stored_by_their_types(store: LocalStore, tmp_path: Path) -> None:
    script = "echo weights > model; mkdir -p all/deep; echo x > all/deep/x; echo '{\"n\": [1, 2.5]}' > facts"
    result = left(store, tmp_path / "c", script, model=FILE, all=FOLDER, facts=ANY)
    assert result["status"] == "succeeded", result["error"]
    outputs = result["outputs"]
    assert store.get_blob(outputs["model"]["blob"]) == b"weights\n"
    assert list(json.loads(store.get_blob(outputs["all"]["blob"]))["files"]) == ["deep/x"]
    assert to_plain(outputs["facts"]) == {"n": [1, 2.5]}


@pytest.mark.parametrize(
    ("script", "outputs", "words"),
    [
        ("true", {"n": INT, "m": FILE}, ["n: there is no file", "m: there is no file"]),
        ("echo no > n", {"n": INT}, ["n: ", "is not JSON"]),
        ("echo '\"x\"' > n", {"n": INT}, ["n: expected an integer"]),
        ("mkdir f; touch d", {"f": FILE, "d": FOLDER}, ["f: there is no file", "d: there is no directory"]),
        ("mkfifo n", {"n": INT}, ["n: there is no file"]),
        (f"truncate -s {MOST_JSON_BYTES + 1} n", {"n": INT}, ["n: ", "declare the output as a File"]),
        ("ln -s /etc/passwd f", {"f": FILE}, ["f: ", "is a link"]),
        ("ln -s /etc d", {"d": FOLDER}, ["d: ", "is a link"]),
        ("ln -s /etc/hostname n", {"n": INT}, ["n: ", "is a link"]),
        ("rmdir ../out; ln -s /etc ../out", {"passwd": FILE}, ["passwd: ", "is a link"]),
        ("mkdir d; ln -s /etc d/x", {"d": FOLDER}, ["leads out of the folder"]),
    ],
)
def test_what_is_not_as_declared_fails_the_step_all_at_once(
    store: LocalStore, tmp_path: Path, script: str, outputs: dict[str, Any], words: list[str]
) -> None:
    result = left(store, tmp_path / "c", script, **outputs)
    assert (result["status"], result["outputs"], result["error"]["kind"]) == ("failed", {}, "user")
    assert [word for word in words if word not in result["error"]["message"]] == []
