"""The containers of a step: which there are, with what images, commands and variables (contracts, section 6.1).

Executors that have containers call `containers_of` before they launch and `conclude` when a container task has ended
well, and render the rest to their own API. Owns no connection; writes `step.json`, which the step's token is made for.
Refuses what no container could run, before anything is launched.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from app.config import Config
from app.secret import secret_key
from app.services.step_access import DOCUMENT, grant
from app.services.step_result import check_result
from celesta.codecs import to_plain
from celesta.command import FOLDER, filled
from celesta.errors import ConfigError, InputError
from celesta.runtime.call import blank_result
from celesta.runtime.enter import variables
from celesta.runtime.leave import create_result
from celesta.runtime.verdicts import lost
from celesta.store import Store, prefix_of

Document = dict[str, Any]
Role = Literal["init", "sidecar", "main"]

MOST_CLAIM_BYTES = 64 << 20
"""Of a result document: what is large in it is in blobs."""

RUNTIME, STEP, IO = "celesta-runtime", "step", "celesta-io"
_BOOTSTRAP = Path(__file__).with_name("bootstrap.py").read_text()
_IS_READY = ["python3", "-c", f"import os, sys; sys.exit(not os.path.exists('{FOLDER}/ready'))"]
_MODULE = ["python3", "-P", "-m"]


@dataclass(frozen=True)
class Container:
    """One container of a step. The volume of the step is mounted at `/celesta` in each."""

    name: str
    image: str
    command: list[str]
    env: dict[str, str]
    role: Role
    ready: list[str] | None = None
    """A command that succeeds inside when the next container may start."""


def containers_of(document: Document, config: Config, store: Store) -> list[Container]:
    """The containers of an attempt, in the order in which they start; `step.json` is in the store then.

    Raises `InputError` for a step that no container can run, `ConfigError` where the deployment cannot be called back,
    `StoreError`.
    """
    if config.step_api_url is None and config.url is None:
        raise ConfigError("set CELESTA_STEP_API_URL to the address at which the containers of steps reach the API")
    data = json.dumps(document, separators=(",", ":")).encode()
    main = _main(document, config, store)
    store.put(f"{prefix_of(document)}{DOCUMENT}", data, flush=False)  # a power cut takes the container along
    access = _access(config, grant(secret_key(config), document, data, config.step_token_seconds))
    if document["kind"] == "container":
        io_command = [*_MODULE, "celesta.runtime.exchange", "take"]
        io = Container(IO, config.runtime_image, io_command, access | _path({}), "sidecar", _IS_READY)
        return [_init(config, access, ["lay"]), io, main]
    return [_init(config, access), _with_env(main, access)]


def conclude(document: Document, store: Store, *, log_bytes: int = 0) -> Document:
    """Makes the result of a container task whose command ended with 0, of what its outputs were found to be.

    The result document that counts, durable in the store. Raises `StoreError`.
    """
    try:
        result = check_result(read_claim(store, f"{prefix_of(document)}outputs.json"), document)
    except InputError:
        result = blank_result(document) | {"error": lost("the container's outputs were not stored before it was ended")}
    return create_result(result | {"log_bytes": log_bytes}, store)


def read_claim(store: Store, key: str) -> Any:
    """What a container says it has made; None when it says nothing. Raises `InputError` for what is no JSON, or more
    than a worker should hold."""
    stream = store.open(key)
    if stream is None:
        return None
    with stream:
        data = stream.read(MOST_CLAIM_BYTES + 1)
    if len(data) > MOST_CLAIM_BYTES:
        raise InputError(f"the container left a result of more than {MOST_CLAIM_BYTES:,} bytes")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the container left a result that is not JSON: {error}") from None


def value_texts(document: Document, store: Store) -> dict[str, Callable[[], str]]:
    """The text of each input, made when it is asked for."""
    return {name: partial(_text, ref, store) for name, ref in document["inputs"].items()}


def _main(document: Document, config: Config, store: Store) -> Container:
    env = dict(document.get("env") or {})
    if document["kind"] == "container":
        if not document.get("image"):
            raise InputError(f"step {document['path']!r} has no image to run its command in")
        command = filled(document["command"], value_texts(document, store))
        return Container(STEP, document["image"], command, env | variables(document), "main")
    image = document.get("image") or config.step_image or config.runtime_image
    home = {"HOME": f"{FOLDER}/home", "CELESTA_HOME": f"{FOLDER}/home"}
    return Container(STEP, image, [*_MODULE, "celesta.runtime"], home | env | _path(env), "main")


def _text(ref: Document, store: Store) -> str:
    plain = to_plain(ref, store, zones=False)
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def _init(config: Config, access: dict[str, str], more: list[str] | None = None) -> Container:
    return Container(
        RUNTIME, config.runtime_image, ["python3", "-c", _BOOTSTRAP, FOLDER, *(more or ())], access, "init"
    )


def _access(config: Config, token: str) -> dict[str, str]:
    """How the programs of the containers reach the API and the store."""
    url = config.step_api_url or config.url or ""
    access = {"CELESTA_STEP_URL": url, "CELESTA_STEP_TOKEN": token, "CELESTA_STEP_FOLDER": FOLDER}
    access["CELESTA_STEP_TOKEN_SECONDS"] = f"{config.step_token_seconds:g}"
    # What is left of the pod's grace is for keeping log and checkpoint.
    access["CELESTA_STEP_GRACE_SECONDS"] = f"{config.cluster.grace_seconds * 2 / 3:.3g}"
    if config.step_access == "identity":
        access["CELESTA_STEP_ACCESS"] = "identity"
        access |= {"CELESTA_S3_ENDPOINT_URL": config.s3_endpoint_url} if config.s3_endpoint_url else {}
    return access


def _path(env: dict[str, str]) -> dict[str, str]:
    theirs = env.get("PYTHONPATH")
    return {"PYTHONPATH": f"{FOLDER}/runtime:{theirs}" if theirs else f"{FOLDER}/runtime"}


def _with_env(container: Container, more: dict[str, str]) -> Container:
    return replace(container, env=container.env | more)
