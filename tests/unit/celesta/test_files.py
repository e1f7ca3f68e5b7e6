import copy
import hashlib
import json
import pickle
from pathlib import Path

import pytest

from celesta.files import Directory, File


@pytest.fixture
def report(tmp_path: Path) -> Path:
    path = tmp_path / "report.txt"
    path.write_text("hello")
    return path


def test_a_file_knows_its_name_size_and_digest(report: Path) -> None:
    file = File(report)
    assert (file.name, file.size, file.digest) == ("report.txt", 5, hashlib.sha256(b"hello").hexdigest())
    assert (file.read_text(), file.read_bytes()) == ("hello", b"hello")
    assert File(str(report), name="other.txt").name == "other.txt"


def test_a_file_can_be_opened_like_a_path(report: Path) -> None:
    with open(File(report)) as stream:  # noqa: PTH123 - what users write
        assert stream.read() == "hello"


def test_a_directory_lists_its_files(report: Path) -> None:
    folder = Directory(report.parent)
    assert folder.files() == [report]
    assert folder.size == 5
    assert folder.digest is None


@pytest.mark.parametrize("dump", [pickle.dumps, copy.deepcopy])
def test_files_refuse_to_be_pickled_and_say_what_to_do(report: Path, dump: object) -> None:
    for value in (File(report), Directory(report.parent)):
        with pytest.raises(TypeError, match=r"cannot be pickled.*Return it from the step"):
            dump(value)  # type: ignore[operator]


def test_files_are_no_json(report: Path) -> None:
    with pytest.raises(TypeError, match="File is not JSON serializable"):
        json.dumps(File(report))
