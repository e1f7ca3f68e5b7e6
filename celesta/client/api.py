"""The REST API as Python methods: one per call, plain documents in and out (the contracts, section 12).

The CLI, `celesta.launch` and users' scripts call it. It holds no state but the connection, makes no decisions about
what a run means, and lets every error of the tree through.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from celesta.client.cache import Cache
from celesta.client.caller import Caller, Document, row_number
from celesta.client.models import Models
from celesta.client.results import Results
from celesta.client.shares import Shares
from celesta.client.transfer import PATIENCE_SECONDS, patiently
from celesta.errors import MissingBlobs, ServerUnreachable

Chosen = bool | list[str]
Blobs = Mapping[str, bytes | Path]

WAIT_SECONDS = 25.0
FINAL = frozenset({"succeeded", "failed", "cancelled"})
PAUSE_SECONDS = 0.2


class Client(Results, Models, Cache, Shares, Caller):
    """One project on one server. Use it as a context manager, or `close()` it; not from several threads."""

    # -- versions and workflows

    def register(
        self, spec: Document, blobs: Blobs | None = None, label: str | None = None, *, activate: bool = True
    ) -> Document:
        """Register a spec; uploads those of `blobs` that the server says it misses.

        Without `activate` a version that somebody chose, by activating it or rolling back to it, stays the active one.
        """
        document = {"spec": spec, "activate": activate} | ({"label": label} if label else {})
        try:
            return self._post(document, "versions")
        except MissingBlobs as missing:
            for digest in missing.digests:
                if digest not in (blobs or {}):
                    raise
                self.upload(digest, (blobs or {})[digest])
        return self._post(document, "versions")

    def upload(self, digest: str, data: bytes | Path) -> None:
        """Store a blob under its digest; the server checks it. A path is streamed."""
        path, headers = self._path("blobs", digest), {"Content-Type": "application/octet-stream"}
        if isinstance(data, bytes):
            with self.http.stream("PUT", path, data, headers) as response:
                response.read()
            return
        with data.open("rb") as file:
            headers["Content-Length"] = str(os.fstat(file.fileno()).st_size)
            with self.http.stream("PUT", path, file, headers) as response:
                response.read()

    def has_blob(self, digest: str) -> bool:
        return self.http.exists(self._path("blobs", digest))

    def workflows(
        self, limit: int | None = None, *, kind: str | None = None, search: str | None = None
    ) -> Iterator[Document]:
        """All workflows by name, or those of a kind (`task` for single tasks), whose names hold `search`."""
        return self._list(limit, "workflows", kind=kind, search=search)

    def workflow(self, name: str) -> Document:
        return self._get("workflows", name)

    def version(self, workflow: str, version: str) -> Document:
        return self._get("workflows", workflow, "versions", version)

    def versions(self, workflow: str, limit: int | None = None) -> Iterator[Document]:
        return self._list(limit, "workflows", workflow, "versions")

    def diff_versions(self, workflow: str, version: str, to: str | None = None) -> Document:
        """What changed from a version to another, by default to the active one."""
        return self._get("workflows", workflow, "versions", version, "diff", to=to)

    def activate(self, workflow: str, version: str) -> Document:
        return self._post({"version": version}, "workflows", workflow, "activate")

    def rollback(self, workflow: str, to: str | None = None, aliases: Iterable[tuple[str, str]] = ()) -> Document:
        """Back to version `to`, by default to the one that was active before, schedules included.

        `aliases`, each a model and its alias, go back with it.
        """
        moved = [{"model": model, "alias": alias} for model, alias in aliases]
        return self._post({"to": to, "aliases": moved}, "workflows", workflow, "rollback")

    # -- runs

    def launch(
        self,
        workflow: str,
        inputs: Document | None = None,
        input_refs: Document | None = None,
        *,
        version: str | None = None,
        no_cache: Chosen = False,
        refresh: Chosen = False,
        priority: int | None = None,
        max_parallel: int | None = None,
        idempotency_key: str | None = None,
    ) -> Document:
        """Start a run and return its document. The key makes a repeated launch return the first one's run.

        `no_cache` and `refresh` are for all steps, or for those of the given paths. `priority` is from -10 to 10.
        """
        numbers = {"priority": priority, "max_parallel": max_parallel}
        document: Document = {
            "workflow": workflow,
            "inputs": inputs or {},
            "input_refs": input_refs or {},
            "options": {
                "no_cache": no_cache,
                "refresh": refresh,
                **{n: v for n, v in numbers.items() if v is not None},
            },
            "idempotency_key": idempotency_key or uuid4().hex,
        }
        return self._post(document | ({"version": version} if version else {}), "runs")

    def runs(
        self, *, workflow: str | None = None, status: str | None = None, limit: int | None = None
    ) -> Iterator[Document]:
        return self._list(limit, "runs", workflow=workflow, status=status)

    def run(self, run_id: str, wait_seconds: float | None = None) -> Document:
        return self._get("runs", run_id, wait_seconds=wait_seconds)

    def wait(self, run_id: str, timeout: float | None = None) -> Document:
        """The run's document once its end is recorded, or as it is after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            asked = time.monotonic()
            left = WAIT_SECONDS if deadline is None else min(WAIT_SECONDS, max(0.0, deadline - asked))
            run: Document = patiently(partial(self.run, run_id, left))
            if is_over(run) or (deadline is not None and time.monotonic() >= deadline):
                return run
            if time.monotonic() - asked < min(1.0, left):
                time.sleep(PAUSE_SECONDS)  # a server with too many waiting clients answers at once

    def cancel(self, run_id: str) -> Document:
        return self._post({}, "runs", run_id, "cancel")

    def recover(
        self,
        run_id: str,
        *,
        options: Document | None = None,
        dry_run: bool = False,
        idempotency_key: str | None = None,
    ) -> Document:
        """A new run that goes on where this one failed; with `dry_run` what it would do.

        `options` of a launch take the place of this run's; the others are as they were.
        """
        asked = {"options": options or {}, "dry_run": dry_run, "idempotency_key": idempotency_key or uuid4().hex}
        return self._post(asked, "runs", run_id, "recover")

    def rerun(
        self,
        run_id: str,
        inputs: Document | None = None,
        input_refs: Document | None = None,
        *,
        steps: list[str] | None = None,
        options: Document | None = None,
        dry_run: bool = False,
        idempotency_key: str | None = None,
    ) -> Document:
        """A new run of the same version: whole, from `steps` on, or with other inputs.

        With `dry_run` what it would do. `options` of a launch take the place of this run's; the others stay.
        """
        asked: Document = {"inputs": inputs or {}, "input_refs": input_refs or {}, "from": steps or []}
        asked |= {"options": options or {}, "dry_run": dry_run, "idempotency_key": idempotency_key or uuid4().hex}
        return self._post(asked, "runs", run_id, "rerun")

    def pause(self, run_id: str) -> Document:
        return self._post({}, "runs", run_id, "pause")

    def resume(self, run_id: str) -> Document:
        return self._post({}, "runs", run_id, "resume")

    def answer(self, run_id: str, step: str, value: Any, note: str = "") -> Document:
        """Answer a step that asks, by its path, with a plain value."""
        return self._post({"step": step, "value": value, "note": note}, "runs", run_id, "answers")

    def steps(
        self, run_id: str, *, state: str | None = None, path: str | None = None, limit: int | None = None
    ) -> Iterator[Document]:
        return self._list(limit, "runs", run_id, "steps", state=state, path=path)

    def step(self, run_id: str, node: str) -> Document:
        return self._get("runs", run_id, "steps", node)

    def events(self, run_id: str) -> Iterator[Document]:
        """The run's events until its end is recorded; taken up again where the stream broke off.

        Events may come twice after that. They come without outcomes, inputs and outputs.
        """
        path, last_id, deadline = self._path("runs", run_id, "events", brief="true"), "", time.monotonic()
        while True:
            try:
                for message in self.http.events(path, last_id):
                    last_id, deadline = message.id, time.monotonic() + PATIENCE_SECONDS
                    event: Document = json.loads(message.data)
                    yield event
                    if event["kind"] == "run.recorded":
                        return
                if is_over(self.run(run_id)):
                    return
            except ServerUnreachable:
                if time.monotonic() > deadline:
                    raise
            time.sleep(PAUSE_SECONDS)

    def log(self, run_id: str, node: str, token: str | None = None) -> Iterator[bytes]:
        """What a step has printed so far, in pieces. `node` may be the step's path."""
        offset = 0
        while True:
            path = self._path("runs", run_id, "steps", node, "log", token=token, offset=offset)
            with self.http.stream("GET", path, headers={"Accept": "text/plain"}) as response:
                piece = response.read()
            if not piece:
                return
            yield piece
            offset += len(piece)

    def follow_log(self, run_id: str, node: str) -> Iterator[tuple[str, bool]]:
        """What a step prints, as it comes, until it ends; True where it begins anew. `node` may be the step's path.

        Anew: a next attempt began, what was sent turned out not to be the log's beginning, or the stream broke off.
        """
        path, anew, deadline = self._path("runs", run_id, "steps", node, "log"), False, time.monotonic()
        while True:
            try:
                for message in self.http.events(path):
                    deadline, piece = time.monotonic() + PATIENCE_SECONDS, json.loads(message.data)
                    yield piece["text"], anew or bool(piece.get("reset"))
                    anew = False
                    if piece.get("end"):
                        return
            except ServerUnreachable:
                if time.monotonic() > deadline:
                    raise
            anew = True
            time.sleep(PAUSE_SECONDS)

    # -- schedules

    def schedules(self, limit: int | None = None) -> Iterator[Document]:
        return self._list(limit, "schedules")

    def create_schedule(self, document: Document) -> Document:
        return self._post(document, "schedules")

    def delete_schedule(self, name: str) -> None:
        self.http.json("DELETE", self._path("schedules", name))

    # -- projects, members, tokens

    def me(self) -> Document:
        return dict(self.http.json("GET", "/api/v1/me"))

    def projects(self, limit: int | None = None) -> Iterator[Document]:
        return self._pages("/api/v1/projects", limit)

    def create_project(self, name: str, description: str = "") -> Document:
        return dict(self.http.json("POST", "/api/v1/projects", {"name": name, "description": description}))

    def limits(self) -> Iterator[Document]:
        return self._list(None, "limits")

    def put_limit(self, name: str, places: int) -> Document:
        return dict(self.http.json("PUT", self._path("limits", name), {"places": places}))

    def delete_limit(self, name: str) -> None:
        self.http.json("DELETE", self._path("limits", name))

    def put_weight(self, weight: int) -> Document:
        return dict(self.http.json("PUT", self._path("weight"), {"weight": weight}))

    def members(self) -> Iterator[Document]:
        return self._list(None, "members")

    def put_member(self, user: str, role: str) -> None:
        self.http.json("PUT", self._path("members", user), {"role": role})

    def delete_member(self, user: str) -> None:
        self.http.json("DELETE", self._path("members", user))

    def tokens(self) -> Iterator[Document]:
        return self._list(None, "tokens")

    def create_token(self, name: str, role: str, user: str = "", all_projects: bool = False) -> Document:
        """For `user`, who is a member, else for the caller; its secret is in this answer only."""
        return self._post({"name": name, "role": role, "user": user, "all_projects": all_projects}, "tokens")

    def delete_token(self, token_id: str) -> None:
        self.http.json("DELETE", self._path("tokens", row_number(token_id, "token", "celesta projects tokens list")))


def is_over(run: Document) -> bool:
    """Whether a run ended and its end is durable in the database."""
    return run["status"] in FINAL and run["recorded_at"] is not None
