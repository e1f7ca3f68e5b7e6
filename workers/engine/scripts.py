"""The atomic scripts: loads `scripts/*.lua`, calls them by digest, and knows how to send one that Redis forgot.

Every module of the engine goes through `call`; nothing else may write a run's keys. A script gets one JSON
document and answers with one, whose `status` is `ok`, `norun` (no such run in Redis), `stale` (another epoch) or, for
`load`, `exists` or `superseded` (another rebuilds the run). Refuses the answer `invalid`, which is a bug of ours.

A Redis that does not know a script has been started since, or has taken another's place. Nothing is asked of it before
it is noted which one it is (`know`), so that no script goes on with a run whose last moment may be lost.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import NoScriptError

from workers.engine import keys

FOLDER = Path(__file__).parent / "scripts"
HEAD = ("common", "admission")
"""What the scripts of a run begin with."""
WITHOUT_RUN = frozenset({"load", "flight", "sweep", "life"})

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode

Answer = dict[str, Any]


class Script:
    """One script's text and the digest by which Redis knows it."""

    def __init__(self, name: str) -> None:
        parts = [name] if name in WITHOUT_RUN else [*HEAD, name]
        self.name = name
        self.text = "".join((FOLDER / f"{part}.lua").read_text() for part in parts)
        self.digest = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def __call__(self, client: Redis, names: list[str], *arguments: str | bytes | int) -> Any:
        try:
            return client.execute_command("EVALSHA", self.digest, len(names), *names, *arguments)
        except NoScriptError:
            know(client)
            return client.execute_command("EVAL", self.text, len(names), *names, *arguments)


SCRIPTS = {path.stem: Script(path.stem) for path in sorted(FOLDER.glob("*.lua")) if path.stem not in HEAD}


def know(client: Redis) -> None:
    """Notes which Redis this is: where it is not the last one, the runs of that count as unknown from now on."""
    server = client.info("server")["run_id"]
    client.execute_command("EVAL", SCRIPTS["life"].text, 1, keys.MARKS, server)


def call(client: Redis, name: str, run: str, **arguments: Any) -> Answer:
    """One round trip: the script's answer to `arguments` about this run."""
    reply = answer(name, SCRIPTS[name](client, keys.of_run(run), _document(run, arguments)))
    if reply["status"] != "unmarked":  # The first run of a Redis, or the first after the loss of everything in it.
        return reply
    know(client)
    return call(client, name, run, **arguments)


def call_with_outcomes(client: Redis, name: str, run: str, **arguments: Any) -> tuple[Answer, list[bytes | None]]:
    """As `call`, for a script that answers with outcomes beside its JSON document."""
    reply = SCRIPTS[name](client, keys.of_run(run), _document(run, arguments))
    if isinstance(reply, bytes):
        return answer(name, reply), []
    return answer(name, reply[0]), reply[1:]


def answer(name: str, reply: bytes) -> Answer:
    document: Answer = json.loads(reply)
    if document["status"] == "invalid":
        raise ValueError(f"the script {name} refused its arguments: {document}")
    return document


def _document(run: str, arguments: Mapping[str, Any]) -> bytes:
    """The arguments as a script reads them. What is None is left out: a JSON null is true in Lua.

    Half a surrogate pair, which a user's message or file name may hold, becomes a question mark: Lua refuses it.
    """
    told = {name: value for name, value in arguments.items() if value is not None}
    return _encode({"run": run, **told}).encode("utf-8", "replace")
