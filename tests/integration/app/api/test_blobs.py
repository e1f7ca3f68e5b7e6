"""Bytes by digest: who may read them, and that a digest alone opens nothing of another project."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from celesta.codecs import encode, make_list
from celesta.codecs.values import reduced
from celesta.files import Directory, File
from celesta.hashing import canonical, digest_of
from celesta.store.base import KEPT_SECONDS, blob_key
from tests.fixtures.playground import Answer, Playground
from tests.unit.app.specs import diamond, taker

ANY = {"kind": "any"}
SECRET = b"the weights of default" * 200


class Two:
    """`default`, and somebody who is editor of `other` and nothing else."""

    def __init__(self, playground: Playground) -> None:
        self.playground = playground
        playground.new_project("other")
        for project in ("default", "other"):
            playground.register(taker(), project)
        self.headers = {"Authorization": f"Bearer {playground.token('editor', 'other')}"}
        self.viewer = {"Authorization": f"Bearer {playground.token('viewer')}"}

    def other(self, method: str, path: str, document: Any = None, **more: Any) -> Answer:
        return self.playground.call(method, f"/api/v1/projects/other/{path}", document, **more, **self.headers)

    def launch(self, ref: Any) -> Answer:
        return self.other("POST", "runs", {"workflow": "taker", "input_refs": {"data": ref}})

    def secret(self, folder: Path) -> dict[str, Any]:
        """A file that a step of `default` made."""
        (folder / "secret").write_bytes(SECRET)
        self.playground.register(diamond())
        run = self.playground.launch(inputs={"n": 1})
        self.playground.start(run)
        self.playground.settle(run, "3", "a", outputs={"result": File(folder / "secret")})
        return self.playground.encode(File(folder / "secret"))


@pytest.fixture
def two(playground: Playground) -> Two:
    return Two(playground)


def test_a_blob_is_read_by_who_may_see_a_project_that_refers_to_it_and_by_nobody_else(two: Two, tmp_path: Path) -> None:
    digest = two.secret(tmp_path)["blob"]
    assert two.playground.call("GET", f"blobs/{digest}", **two.viewer).body == SECRET
    absent = two.other("GET", f"blobs/{'0' * 64}")
    for method in ("GET", "HEAD"):
        answer = two.other(method, f"blobs/{digest}")
        assert answer.status == absent.status == 404
        assert (
            digest not in answer.text
            or answer.text.replace(digest, "0" * 64).split("request_id")[0] == (absent.text.split("request_id")[0])
        ), "it cannot be told from one that is not there"
    assert two.playground.call("GET", f"blobs/{digest}", **two.headers).status == 404, "nor through the other project"


@pytest.mark.parametrize(
    "what",
    ["an upload", "an input of a run", "a typed input", "an input in a list", "an array", "an array as an input"],
)
def test_what_a_project_refers_to_is_read_by_its_viewers_only(two: Two, tmp_path: Path, what: str) -> None:
    playground = two.playground
    if what == "an upload":
        digest = digest_of(SECRET)
        editor = {"Authorization": f"Bearer {playground.token('editor')}"}
        assert playground.call("PUT", f"blobs/{digest}", data=SECRET, **editor).status == 201
    elif what in ("an input of a run", "an input in a list"):
        (tmp_path / "input").write_bytes(SECRET)
        ref = playground.encode(File(tmp_path / "input"))
        given = ref if what == "an input of a run" else make_list([ref], playground.store)
        playground.launch("taker", input_refs={"data": given})
        digest = ref["blob"]
    elif what == "a typed input":
        playground.launch("taker", inputs={"data": SECRET.decode()})
        digest = playground.encode(SECRET.decode())["blob"]
    elif what == "an array as an input":
        numpy = pytest.importorskip("numpy")
        ref = playground.encode(numpy.arange(900.0))
        playground.launch("taker", input_refs={"data": ref})
        digest = ref["blob"]
    else:
        numpy = pytest.importorskip("numpy")
        playground.register(diamond())
        run = playground.launch(inputs={"n": 1})
        playground.start(run)
        playground.settle(run, "3", "a", outputs={"result": numpy.arange(900.0)})
        digest = playground.encode(numpy.arange(900.0))["blob"]
    assert playground.call("GET", f"blobs/{digest}", **two.viewer).status == 200
    assert two.other("GET", f"blobs/{digest}").status == 404


def test_no_step_is_given_what_its_launcher_may_not_read(two: Two, tmp_path: Path) -> None:
    ref = two.secret(tmp_path)
    listing = json.dumps({"files": {"x": {"digest": ref["blob"], "size": ref["size"], "mode": 0o644}}}).encode()
    folder = digest_of(listing)
    assert two.other("PUT", f"blobs/{folder}", data=listing).status == 201
    for wrong in (ref, {"type": "directory", "digest": folder, "blob": folder, "size": ref["size"]}):
        answer = two.launch(wrong)
        assert answer.status == 422, answer.text
        assert f"its blob {ref['blob']} is not in the store; put it first" in answer.text
    assert two.other("GET", "runs").json["items"] == []
    assert two.other("PUT", f"blobs/{ref['blob']}", data=SECRET).json["created"] is False
    assert two.launch(ref).status == 201, "whoever has the bytes may use them"


def test_the_digest_of_a_table_is_no_proof_of_having_such_bytes(two: Two, tmp_path: Path) -> None:
    """It is that of logical content, which no server computes: anything may stand there."""
    theirs, own = two.secret(tmp_path)["blob"], b"no table at all"
    two.other("PUT", f"blobs/{digest_of(own)}", data=own)
    ref = {"type": "table", "digest": theirs, "size": 1, "blob": digest_of(own)}
    ref |= {"flavour": "pandas", "rows": 1, "columns": [["a", "int64"]]}
    run = two.launch(ref).json["run_id"]
    assert two.other("GET", f"blobs/{theirs}").status == 404
    two.playground.tell(run, "run.started", known=1, project="other")
    two.playground.settle(run, "0", "take", project="other", refs={"result": ref})
    artifact = two.other("GET", f"artifacts?run={run}").json["items"][0]["id"]
    assert two.other("POST", "models/mine/versions", {"artifact": artifact}).status == 201
    assert two.other("GET", f"blobs/{theirs}").status == 404
    assert two.launch({"type": "file", "digest": theirs, "blob": theirs, "size": 1, "name": "x"}).status == 422


def test_a_reference_of_two_forms_opens_nothing(two: Two, tmp_path: Path) -> None:
    """One form would be checked, and the other read."""
    theirs = two.secret(tmp_path)["blob"]
    listing = json.dumps({"files": {"x": {"digest": theirs, "size": 1, "mode": 0o644}}}).encode()
    items = json.dumps([{"type": "file", "digest": theirs, "blob": theirs, "size": 1, "name": "x"}]).encode()
    for data in (listing, items):
        two.other("PUT", f"blobs/{digest_of(data)}", data=data)
    inline = encode("x", ANY, two.playground.store)
    empty = encode([], ANY, two.playground.store)
    forged = (
        inline | {"blob": theirs},
        inline | {"type": "file", "digest": theirs, "blob": theirs},
        empty | {"type": "directory", "inline": [], "digest": digest_of(listing), "blob": digest_of(listing)},
        empty | {"blob": digest_of(items)},
    )
    for ref in forged:
        answer = two.launch(ref)
        assert (answer.status, "never in both" in answer.text) == (422, True), answer.text
        named = taker() | {"name": "named"}
        named["steps"][0]["inputs"]["data"] = {"value": ref}
        assert two.other("POST", "versions", {"spec": named}).status == 422
    assert two.other("GET", "runs").json["items"] == []


def test_a_file_of_ones_own_with_the_bytes_of_a_listing_opens_nothing(two: Two, tmp_path: Path) -> None:
    ref = two.secret(tmp_path)
    listing = json.dumps({"files": {"x": {"digest": ref["blob"], "size": ref["size"], "mode": 0o644}}}).encode()
    folder = digest_of(listing)
    two.other("PUT", f"blobs/{folder}", data=listing)
    run = two.launch({"type": "file", "digest": folder, "blob": folder, "size": len(listing), "name": "x"}).json
    two.playground.tell(run["run_id"], "run.started", known=1, project="other")
    (tmp_path / "listing").write_bytes(listing)
    two.playground.settle(run["run_id"], "0", "take", outputs={"result": File(tmp_path / "listing")}, project="other")
    answer = two.launch({"type": "directory", "digest": folder, "blob": folder, "size": ref["size"]})
    assert answer.status == 422, answer.text


def test_json_of_ones_own_that_is_not_looked_into_opens_nothing(two: Two, tmp_path: Path) -> None:
    """Under the digest of its bytes it is plain JSON, and under that of the value it names a file."""
    tagged = {"ref": two.secret(tmp_path)}
    data, size = canonical(tagged), len(canonical(tagged))
    two.other("PUT", f"blobs/{digest_of(data)}", data=data)
    plain = {"type": "json", "digest": digest_of(data), "blob": digest_of(data), "size": size}
    run = two.launch(plain).json["run_id"]
    two.playground.tell(run, "run.started", known=1, project="other")
    two.playground.settle(run, "0", "take", project="other", refs={"result": plain})
    answer = two.launch(plain | {"digest": digest_of(canonical(reduced(tagged)))})
    assert (answer.status, tagged["ref"]["blob"] in answer.text) == (422, True), answer.text


def test_a_folder_that_a_project_has_is_used_with_all_that_lies_in_it(two: Two, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/part").write_bytes(SECRET)
    playground = two.playground
    playground.register(diamond())
    run = playground.launch(inputs={"n": 1})
    playground.start(run)
    playground.settle(run, "3", "a", outputs={"result": Directory(tmp_path / "folder")})
    ref = encode(Directory(tmp_path / "folder"), ANY, playground.store)
    editor = {"Authorization": f"Bearer {playground.token('editor')}"}
    body = {"workflow": "taker", "input_refs": {"data": ref}}
    assert playground.call("POST", "runs", body, **editor).status == 201
    assert two.launch(ref).status == 422


def test_a_version_names_no_bytes_of_others(two: Two, tmp_path: Path) -> None:
    ref = two.secret(tmp_path)
    named = taker() | {"name": "named"}
    named["steps"][0]["inputs"]["data"] = {"value": ref}
    for wrong in (named, taker() | {"name": "bundled", "bundle": ref["blob"]}):
        answer = two.other("POST", "versions", {"spec": wrong})
        assert (answer.status, answer.json["code"], answer.json["errors"]) == (409, "missing_blobs", [ref["blob"]])
    two.other("PUT", f"blobs/{ref['blob']}", data=SECRET)
    assert two.other("POST", "versions", {"spec": named}).status == 201


def test_what_a_launch_relies_on_counts_as_written_now(two: Two) -> None:
    """From its acceptance to its first step nothing else may refer to it: no collection may take it meanwhile."""
    playground, digest = two.playground, digest_of(SECRET)
    editor = {"Authorization": f"Bearer {playground.token('editor')}"}
    playground.call("PUT", f"blobs/{digest}", data=SECRET, **editor)
    path = Path(f"{playground.store.root}/{blob_key(digest)}")  # type: ignore[attr-defined]
    then = time.time() - 10 * KEPT_SECONDS
    os.utime(path, (then, then))
    ref = {"type": "file", "digest": digest, "blob": digest, "size": len(SECRET), "name": "x"}
    body = {"workflow": "taker", "input_refs": {"data": ref}}
    assert playground.call("POST", "runs", body, **editor).status == 201
    assert path.stat().st_mtime > then + KEPT_SECONDS
