"""Whether a request comes from this server's own operating-system user, over loopback, and not through somebody else.

`app.access` asks when `CELESTA_LOOPBACK_AUTH` is on. The kernel says whose the peer's socket is (`/proc/net/tcp*`).
Refuses everything that could be another's request in this user's clothes: a forwarded one (proxy), a foreign `Host`
(DNS rebinding), a page of another origin in the user's browser (CSRF).
"""

import os
import pwd
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from urllib.parse import urlsplit

from flask import Request

TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
ESTABLISHED = "01"
FORWARDING = ("Forwarded", "Via", "X-Real-Ip")
Address = IPv4Address | IPv6Address


def is_same_user(request: Request) -> bool:
    """All of the rules above; a kernel that cannot tell counts as no."""
    peer = _loopback(request.remote_addr)
    if peer is None or not is_local(request):
        return False
    try:
        ports = int(request.environ["REMOTE_PORT"]), _server_port(request)
    except (KeyError, ValueError):
        return False
    return peer_uid(peer, *ports) == os.getuid()


def is_local(request: Request) -> bool:
    """Whether it comes from this machine, whoever sent it, and neither through a proxy nor from another site's page."""
    return _loopback(request.remote_addr) is not None and _is_direct(request) and _is_own_page(request)


def user_name() -> str:
    """The name of the operating-system user of this process."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container may run under a number without a name
        return f"uid-{os.getuid()}"


def peer_uid(peer: Address, peer_port: int, server_port: int) -> int | None:
    """The owner of the loopback socket at the other end of a connection to `server_port`.

    Only established sockets count: the kernel shows one that its process has closed as root's.
    """
    wanted = {f"{encoded}:{peer_port:04X}" for encoded in _encodings(peer)}
    for fields in _rows():
        if fields[1] in wanted and fields[3] == ESTABLISHED and fields[2].endswith(f":{server_port:04X}"):
            return int(fields[7])
    return None


def _rows() -> Iterator[list[str]]:
    for table in TABLES:
        try:
            lines = table.read_text().splitlines()[1:]
        except OSError:
            continue
        yield from (line.split() for line in lines)


def _encodings(address: Address) -> list[str]:
    """The kernel writes addresses as words in the byte order of the machine; IPv4 also as mapped IPv6."""
    if isinstance(address, IPv4Address):
        mapped = IPv6Address(b"\0" * 10 + b"\xff\xff" + address.packed)
        return [_words(address.packed), _words(mapped.packed)]
    return [_words(address.packed)]


def _words(packed: bytes) -> str:
    return "".join(f"{struct.unpack('=I', packed[at : at + 4])[0]:08X}" for at in range(0, len(packed), 4))


def _loopback(text: str | None) -> Address | None:
    try:
        address = ip_address(text or "")
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address if address.is_loopback else None


def _server_port(request: Request) -> int:
    connection = request.environ.get("gunicorn.socket") or request.environ.get("werkzeug.socket")
    if isinstance(connection, socket.socket):
        return int(connection.getsockname()[1])
    return int(request.environ["SERVER_PORT"])


def _is_direct(request: Request) -> bool:
    forwarded = any(name in request.headers for name in FORWARDING)
    return not forwarded and not any(name.lower().startswith("x-forwarded-") for name, _ in request.headers)


def _is_own_page(request: Request) -> bool:
    host = request.headers.get("Host", "")
    name = urlsplit(f"//{host}").hostname or ""
    if name != "localhost" and _loopback(name) is None:
        return False
    origin = request.headers.get("Origin")
    if origin is not None and origin != f"{request.scheme}://{host}":
        return False
    return request.headers.get("Sec-Fetch-Site", "none") in ("none", "same-origin")
