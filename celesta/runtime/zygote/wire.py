"""What goes over the sockets of the zygote, for both of their ends.

Messages are JSON in one packet of a SOCK_SEQPACKET socket, with descriptors beside it. Step documents and results are
longer: JSON bytes after their length, on a SOCK_STREAM socket.
"""

from __future__ import annotations

import array
import json
import socket
import struct
from collections.abc import Sequence
from typing import Any

MESSAGE_BYTES = 65_536
_DESCRIPTORS = 4
_LENGTH = struct.Struct("!I")

Message = dict[str, Any]

_decoder = json.JSONDecoder()
_encoder = json.JSONEncoder(separators=(",", ":"), check_circular=False)


def message_pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends for messages."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send_message(to: socket.socket, message: Message, descriptors: Sequence[int] = ()) -> None:
    """Sends one message. Descriptors are copied to the receiver; the sender keeps, and closes, its own."""
    data = json.dumps(message).encode()
    if descriptors:
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))
        to.sendmsg([data], [rights], socket.MSG_NOSIGNAL)
    else:
        to.send(data, socket.MSG_NOSIGNAL)


def receive_message(of: socket.socket) -> tuple[Message, list[int]] | None:
    """The next message and its descriptors. None: the other end is gone."""
    try:
        data, descriptors, _, _ = socket.recv_fds(of, MESSAGE_BYTES, _DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError:
        return None
    return (read_json(data), descriptors) if data else None


def read_json(data: bytes) -> Any:
    """`json.loads` without its search for the encoding and for blanks: every step pays for the code it touches."""
    return _decoder.raw_decode(data.decode())[0]


def write_json(document: Any) -> bytes:
    """`json.dumps`, by an encoder that is there already."""
    return _encoder.encode(document).encode()


def send_bytes(to: socket.socket, data: bytes) -> None:
    """Sends a document."""
    to.sendall(_LENGTH.pack(len(data)) + data)


class MessageTooLong(Exception):
    """The other end announces more than is taken."""


def receive_bytes(of: socket.socket, most_bytes: int = 1 << 32) -> bytes | None:
    """The next document. None: the other end is gone before it was whole. Raises `MessageTooLong`."""
    try:
        head = _exactly(of, _LENGTH.size)
        size = 0 if head is None else _LENGTH.unpack(head)[0]
        if size > most_bytes:
            raise MessageTooLong
        return None if head is None else _exactly(of, size)
    except ConnectionResetError:
        return None


def _exactly(of: socket.socket, size: int) -> bytes | None:
    first = of.recv(size)
    if len(first) == size:
        return first
    parts = bytearray(first)
    while len(parts) < size:
        more = of.recv(min(size - len(parts), 1 << 20))
        if not more:
            return None
        parts += more
    return bytes(parts)
