import platform
import sys
from pathlib import Path

import pytest

from celesta import environment
from celesta.environment import environment_digest, environment_lock, record_environment
from celesta.hashing import canonical, digest_of
from celesta.store.local import LocalStore


def fresh() -> str:
    forget()
    try:
        return environment_digest()
    finally:
        forget()


def forget() -> None:
    environment_digest.cache_clear()
    environment_lock.cache_clear()


def install(folder: Path, *names: str) -> None:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).mkdir()


def test_packages_and_python_make_the_environment_and_their_order_does_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    install(one, "numpy-1.0.dist-info", "numpy")
    install(other, "Typing_Extensions-2.dist-info", "old-3.egg-info", "here.egg-info")
    monkeypatch.setattr(sys, "path", [str(one), str(other), "", str(tmp_path / "nowhere")])
    before = fresh()
    assert environment_lock()["packages"] == {"numpy": "1.0", "old": "3", "typing-extensions": "2"}
    monkeypatch.setattr(sys, "path", [str(other), str(one)])
    assert fresh() == before
    (one / "numpy-1.0.dist-info").rename(one / "numpy-1.1.dist-info")
    assert fresh() != before
    (one / "numpy-1.1.dist-info").rename(one / "numpy-1.0.dist-info")
    assert fresh() == before
    monkeypatch.setattr(platform, "python_version", lambda: "3.99")
    assert fresh() != before
    forget()


def test_the_lock_is_kept_once_under_the_digest_that_stands_for_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store = LocalStore(tmp_path / "store")
    digest = record_environment(store)
    assert store.get_blob(digest) == canonical(environment_lock())
    assert digest == digest_of(canonical(environment_lock())) == environment_digest()
    store.delete(f"blobs/sha256/{digest[:2]}/{digest}")
    assert record_environment(store) == digest
    assert not store.has_blob(digest), "it is put once in a while, and not for each step"
    monkeypatch.setitem(environment._kept_at, store.url, float("-inf"))
    record_environment(store)
    assert store.has_blob(digest)
