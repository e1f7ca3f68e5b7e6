"""`webhook`: a task that tells a web address something, as JSON. Made for `on_failure=`, of use in any workflow.

The address may come from somebody who launches a run, and the worker stands inside a network that they do not. So only
http and https are spoken, to addresses that the whole internet can reach, and what was checked is what is connected to:
a name is looked up once. Redirects are not followed. `CELESTA_WEBHOOK_ALLOW`, in the environment of the workers, names
hosts and networks (`10.0.0.0/8`) that may be called all the same.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import os
import socket
import ssl
from typing import Any
from urllib.parse import urlsplit

from celesta.errors import InputError, Problem
from celesta.options import Retry
from celesta.tasks import task

ALLOW = "CELESTA_WEBHOOK_ALLOW"
SECONDS = 10.0
SHOWN_BYTES = 300
TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")
"""NAT64 (RFC 6052)."""
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@task(retries=Retry(3, backoff=2, jitter=0.5, on=("OSError", "TryAgain")), timeout=60)
def webhook(url: str, body: Any = None) -> int:
    """Posts `body` as JSON; the status of the answer.

    Raises `InputError` for an address that may not be called, `Refused` for an answer that no retry would change
    (3xx and 4xx), `TryAgain` for 5xx and 429, `OSError` when nobody answers.
    """
    connection, path = _connection(url)
    headers = {"Content-Type": "application/json", "User-Agent": "Celesta"}
    try:
        connection.request("POST", path, json.dumps(body, default=str).encode(), headers)
        answer = connection.getresponse()
        told = answer.read(SHOWN_BYTES).decode(errors="replace")
    finally:
        connection.close()
    if answer.status >= 500 or answer.status == 429:
        raise TryAgain(f"{connection.host} answered {answer.status}: {told}")
    if answer.status >= 300:
        moved = "; redirects are not followed: give the address that it names" if answer.status < 400 else ""
        raise Refused(f"{connection.host} answered {answer.status}{moved}: {told}")
    return answer.status


class Refused(Exception):
    """The other side does not take it."""


class TryAgain(Exception):
    """The other side cannot take it now."""


def _connection(url: str) -> tuple[http.client.HTTPConnection, str]:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError([Problem("url", f"{url!r} is no address to post to: write http://… or https://…")])
    if parts.username is not None:
        raise InputError([Problem("url", "a name or password in the address would be shown to everyone: leave it out")])
    secure = parts.scheme == "https"
    made: http.client.HTTPConnection = (
        http.client.HTTPSConnection(parts.hostname, parts.port, timeout=SECONDS, context=ssl.create_default_context())
        if secure
        else http.client.HTTPConnection(parts.hostname, parts.port, timeout=SECONDS)
    )
    made._create_connection = _connect  # type: ignore[attr-defined]  # where the address is looked up
    return made, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _connect(target: tuple[str, int], timeout: float, *_: object) -> socket.socket:
    """A connection to an address of this host that may be called. All of its addresses must be."""
    host, port = target
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    allowed = _allowed()
    for entry in found:
        address = ipaddress.ip_address(str(entry[4][0]).partition("%")[0])
        if host not in allowed and not _may_call(address, allowed):
            raise InputError(
                [
                    Problem(
                        "url",
                        f"{host} is {address}, which is not on the open internet; to call it all the same, name it in "
                        f"{ALLOW} where the workers run",
                    )
                ]
            )
    return socket.create_connection((str(found[0][4][0]), port), timeout)


def _may_call(address: Address, allowed: list[str]) -> bool:
    meant = _meant(address)
    if meant.is_global and not meant.is_multicast:
        return True
    return any(_is_in(meant, network) for network in allowed)


def _meant(address: Address) -> Address:
    """The IPv4 address that is called by way of this one, where a network translates."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in TRANSLATED:
        return ipaddress.IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour or address


def _is_in(address: Address, network: str) -> bool:
    try:
        return address in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def _allowed() -> list[str]:
    return [name.strip() for name in os.environ.get(ALLOW, "").split(",") if name.strip()]
