"""Unit tests open no socket: a test that does belongs to ``tests/integration``."""

import socket
from typing import NoReturn

import pytest
import urllib3  # noqa: F401  # It binds a socket when it is first imported, and that is nobody's test.


@pytest.fixture(autouse=True)
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse to connect or bind. Pairs (``socket.socketpair``) stay allowed: they reach nobody."""

    def refuse(self: socket.socket, address: object) -> NoReturn:
        pytest.fail(f"a unit test opened a socket to {address!r}; move it to tests/integration")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "bind", refuse)
