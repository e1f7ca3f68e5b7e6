"""What a step in a container may do: one token for each attempt, and what it opens.

An executor asks for a token (`grant`) before it launches; `app.api.step` takes it from the container and asks here
what it allows. A token is signed, names one attempt and the digest of its step document, and opens nothing else: the
document, the blobs that its inputs and bundle name, and the attempt's own objects. It ends with its time, with the
attempt, and when the step has gone on to another one. Nothing of it is stored.
"""

import hashlib
import json
import time
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from itsdangerous import BadSignature, URLSafeSerializer
from sqlalchemy import and_, select

from app.access import UnauthorizedError
from app.models import RUN_TERMINAL, STEP_TERMINAL, Run, Step
from app.services.blob_access import foreign, without_access
from app.services.session import Session
from celesta.codecs.reach import MALFORMED, blobs_within, values_of
from celesta.errors import AccessError, InputError, NotFoundError, Problem, StoreError
from celesta.hashing import digest_of
from celesta.store import Store, step_prefix
from celesta.tokens import order_of

Document = dict[str, Any]

PREFIX = "cst_"
DOCUMENT = "step.json"
KEPT_DOCUMENTS = 1_024
MOST_PROBLEMS = 20
_OVER = ("backoff", *STEP_TERMINAL)


@dataclass(frozen=True)
class Attempt:
    """The attempt that a token speaks for; `document` is the digest of its step document."""

    project: str
    run: str
    node: str
    path: str
    token: str
    document: str
    expires_at: int

    @property
    def prefix(self) -> str:
        return step_prefix(self.run, self.path, self.token)


def grant(secret_key: str, document: Document, data: bytes, seconds: float) -> str:
    """A token for the attempt of this step document, whose bytes in the store are `data`."""
    names = {name: document[name] for name in ("project", "run", "node", "path", "token")}
    return _sign(secret_key, Attempt(**names, document=digest_of(data), expires_at=int(time.time() + seconds)))


def renew(secret_key: str, attempt: Attempt, seconds: float) -> str:
    """A token for the same attempt that lasts from now on."""
    return _sign(secret_key, Attempt(**asdict(attempt) | {"expires_at": int(time.time() + seconds)}))


def attempt_of(secret_key: str, token: str) -> Attempt:
    """Whose token it is. Raises `UnauthorizedError` for one that is not ours, was changed, or is over its time."""
    try:
        if not token.startswith(PREFIX):
            raise BadSignature("not a step's token")
        attempt = Attempt(**_signer(secret_key).loads(token.removeprefix(PREFIX)))
    except (BadSignature, TypeError):
        raise UnauthorizedError("this is no token of a step; only a step that was launched has one") from None
    if attempt.expires_at <= time.time():
        raise UnauthorizedError(f"the token of step {attempt.path!r} is over its time; the executor gives fresh ones")
    return attempt


def require_current(session: Session, attempt: Attempt) -> None:
    """Raises `AccessError` when the attempt is over, or the step has gone on to another one.

    The record may lag a moment behind the engine: then it tells less, and never of an attempt that is to come.
    """
    query = select(Run.status, Step.token, Step.state).where(Run.id == attempt.run)
    row = session.execute(query.outerjoin(Step, and_(Step.run_id == Run.id, Step.node == attempt.node))).one_or_none()
    if row is None or row.status in RUN_TERMINAL:
        raise AccessError(f"run {attempt.run} is over, and with it what its steps may do")
    if row.token is None:
        return
    ours, now = order_of(attempt.token), order_of(row.token)
    if now > ours or (now == ours and row.state in _OVER):
        raise AccessError(f"attempt {attempt.token} at step {attempt.path!r} is over; nothing more is taken from it")


def step_document(store: Store, attempt: Attempt) -> Document:
    """The step document as it was launched. Raises `NotFoundError`."""
    data = store.get(f"{attempt.prefix}{DOCUMENT}")
    if data is None or digest_of(data) != attempt.document:
        raise NotFoundError(f"the document of step {attempt.path!r} is not there, or is another attempt's")
    return dict(json.loads(data))


def require_readable(store: Store, attempt: Attempt, digest: str) -> None:
    """Raises `AccessError` unless the step's inputs or its bundle name this blob."""
    if digest not in _readable(_Kept(store), attempt):
        raise AccessError(f"step {attempt.path!r} may not read blob {digest}: none of its inputs names it")


def project_of(session: Session, attempt: Attempt) -> int:
    """The id of the project whose step it is."""
    return int(session.scalars(select(Run.project_id).where(Run.id == attempt.run)).one())


def require_own(session: Session, store: Store, attempt: Attempt, result: Document) -> None:
    """Raises `InputError` when a result names bytes that the step was not given, and that nobody in its project has:
    the digest of another project's secret would else be enough to have it as an output."""
    refs = list((result.get("outputs") or {}).values())
    known = _readable(_Kept(store), attempt)
    try:
        traced = [result["dynamic"]] if result.get("dynamic") else []
        named = [*traced, *([result["environment"]] if result.get("environment") else [])]
        values = [ref for digest in traced for ref in values_of(json.loads(store.get_blob(digest)))]
        projects = [project_of(session, attempt)]
        wrong = foreign(session, projects, store, [*refs, *values], known)
        wrong |= without_access(session, projects, set(named).difference(known))
    except StoreError as error:
        if error.retryable:
            raise
        raise InputError(f"the result of step {attempt.path!r} cannot be taken: {error}") from None
    except MALFORMED:
        raise InputError(
            f"the result of step {attempt.path!r} cannot be taken: a blob that it names has no form"
        ) from None
    if wrong:
        raise InputError(
            f"the result of step {attempt.path!r} cannot be taken",
            [Problem("outputs", f"blob {digest} was not put by the step") for digest in sorted(wrong)[:MOST_PROBLEMS]],
        )


class _Kept:
    """A store as part of a key: two of the same place are equal."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Kept) and other.store.url == self.store.url

    def __hash__(self) -> int:
        return hash(self.store.url)


@lru_cache(maxsize=KEPT_DOCUMENTS)
def _readable(kept: _Kept, attempt: Attempt) -> frozenset[str]:
    document = step_document(kept.store, attempt)
    defaults = (port.get("default") for port in document["interface"]["inputs"])
    refs = [*document["inputs"].values(), *(ref for ref in defaults if ref is not None)]
    bundle = {document["bundle"]} if document["bundle"] else set()
    return frozenset(bundle.union(blobs_within(refs, kept.store)))


def _sign(secret_key: str, attempt: Attempt) -> str:
    signed: str = _signer(secret_key).dumps(asdict(attempt))
    return f"{PREFIX}{signed}"


def _signer(secret_key: str) -> URLSafeSerializer:
    """The salt derives a key of its own: a session's signature is none here, and the other way round."""
    return URLSafeSerializer(
        secret_key, salt="celesta step token", signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256}
    )
