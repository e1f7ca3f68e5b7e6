"""Bundles are unpacked once, whole, and inside their own folder."""

import io
import stat
import zipfile
from pathlib import Path
from typing import Any

import pytest

from celesta.errors import InputError, StoreError
from celesta.runtime.bundles import unpacked
from celesta.store import open_store


@pytest.fixture
def store(tmp_path: Path) -> Any:
    return open_store(f"file://{tmp_path}/store")


def zipped(members: dict[str, str], mode: int = 0) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, text in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, text)
    return data.getvalue()


def test_it_is_unpacked_once(store: Any, tmp_path: Path) -> None:
    digest = store.put_blob(zipped({"a.py": "A", "b/c.py": "C"}))
    folder = unpacked(store, digest, tmp_path / "bundles")
    assert (folder / "b" / "c.py").read_text() == "C"
    store.delete(f"blobs/sha256/{digest[:2]}/{digest}")
    assert unpacked(store, digest, tmp_path / "bundles") == folder
    assert [path.name for path in (tmp_path / "bundles").iterdir()] == [digest]


@pytest.mark.parametrize("name", ["../evil.py", "/evil.py", "a/../../evil.py", "a\\..\\evil.py"])
def test_a_member_that_leads_out_is_refused_and_nothing_is_left(store: Any, tmp_path: Path, name: str) -> None:
    digest = store.put_blob(zipped({"good.py": "", name: "evil"}))
    with pytest.raises(InputError, match="not a plain file inside it"):
        unpacked(store, digest, tmp_path / "bundles")
    assert list((tmp_path / "bundles").iterdir()) == []
    assert not (tmp_path / "evil.py").exists()


def test_a_link_is_refused(store: Any, tmp_path: Path) -> None:
    digest = store.put_blob(zipped({"link": "/etc/passwd"}, stat.S_IFLNK | 0o777))
    with pytest.raises(InputError, match="not a plain file"):
        unpacked(store, digest, tmp_path / "bundles")


def test_what_is_not_a_zip_file_is_refused(store: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a zip file"):
        unpacked(store, store.put_blob(b"words"), tmp_path / "bundles")


def test_bytes_that_are_not_those_of_the_digest_are_refused(store: Any, tmp_path: Path) -> None:
    digest = store.put_blob(zipped({"a.py": "A"}))
    store.put(f"blobs/sha256/{digest[:2]}/{digest}", zipped({"a.py": "B"}))
    with pytest.raises(StoreError, match="damaged"):
        unpacked(store, digest, tmp_path / "bundles")
    assert not (tmp_path / "bundles").exists()


def test_a_slower_unpacker_takes_the_folder_of_the_faster_one(store: Any, tmp_path: Path) -> None:
    digest = store.put_blob(zipped({"a.py": "A"}))
    root = tmp_path / "bundles"

    class Racing:
        def get_blob(self, wanted: str) -> bytes:
            unpacked(store, digest, root)
            return bytes(store.get_blob(wanted))

    assert (unpacked(Racing(), digest, root) / "a.py").read_text() == "A"
    assert [path.name for path in root.iterdir()] == [digest]
