from ipaddress import ip_address

import pytest
from flask import Flask, request

from app import loopback

HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def _row(local, remote, state="01", uid=1000):
    return f"   0: {local} {remote} {state} 00000000:00000000 00:00000000 00000000 {uid:5d}        0 41 1\n"


@pytest.fixture
def tables(tmp_path, monkeypatch):
    paths = (tmp_path / "tcp", tmp_path / "tcp6")
    for path in paths:
        path.write_text(HEADER)
    monkeypatch.setattr(loopback, "TABLES", paths)
    return paths


@pytest.mark.parametrize(
    ("table", "local", "remote", "peer"),
    [
        (0, "0100007F:D431", "0100007F:1F90", "127.0.0.1"),
        (1, "00000000000000000000000001000000:D431", "00000000000000000000000001000000:1F90", "::1"),
        (1, "0000000000000000FFFF00000100007F:D431", "0000000000000000FFFF00000100007F:1F90", "127.0.0.1"),
    ],
)
def test_the_peers_socket_tells_its_user(tables, table, local, remote, peer):
    tables[table].write_text(HEADER + _row(remote, local, uid=7) + _row(local, remote, uid=1234))
    assert loopback.peer_uid(ip_address(peer), 0xD431, 0x1F90) == 1234


def test_a_socket_that_its_process_closed_tells_nothing(tables):
    # The kernel shows such a socket as root's, which would make everyone root.
    tables[0].write_text(HEADER + _row("0100007F:D431", "0100007F:1F90", state="04", uid=0))
    assert loopback.peer_uid(ip_address("127.0.0.1"), 0xD431, 0x1F90) is None


def test_a_connection_to_another_port_tells_nothing(tables):
    tables[0].write_text(HEADER + _row("0100007F:D431", "0100007F:1F91", uid=0))
    assert loopback.peer_uid(ip_address("127.0.0.1"), 0xD431, 0x1F90) is None


def test_without_the_kernels_tables_nobody_is_known(monkeypatch, tmp_path):
    monkeypatch.setattr(loopback, "TABLES", (tmp_path / "none",))
    assert loopback.peer_uid(ip_address("127.0.0.1"), 1, 2) is None


def _asks(headers=(), peer="127.0.0.1", host="localhost:8080"):
    environ = {"REMOTE_ADDR": peer, "REMOTE_PORT": "54321"}
    app = Flask(__name__)
    with app.test_request_context(
        "/", base_url=f"http://{host}", environ_base=environ, headers={"Host": host, **dict(headers)}
    ):
        return loopback.is_same_user(request)


@pytest.fixture
def own_socket(monkeypatch):
    monkeypatch.setattr(loopback, "peer_uid", lambda *_: loopback.os.getuid())


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1:8080", "127.0.0.5", "[::1]:8080"])
def test_the_own_user_on_loopback_is_known(own_socket, host):
    assert _asks(host=host)
    assert _asks({"Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}, host=host)


def test_another_user_on_loopback_is_not(monkeypatch):
    monkeypatch.setattr(loopback, "peer_uid", lambda *_: loopback.os.getuid() + 1)
    assert not _asks()


@pytest.mark.parametrize("name", ["Forwarded", "Via", "X-Real-IP", "X-Forwarded-For", "x-forwarded-proto"])
def test_a_forwarded_request_is_not(own_socket, name):
    assert not _asks({name: "127.0.0.1"})


@pytest.mark.parametrize("host", ["evil.example:8080", "localhost.evil.example", "10.0.0.1", ""])
def test_a_foreign_host_is_not(own_socket, host):
    assert not _asks({"Host": host})


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:9999"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_page_of_another_origin_is_not(own_socket, headers):
    assert not _asks(headers)


@pytest.mark.parametrize("peer", ["10.1.2.3", "::ffff:10.1.2.3", "", "fe80::1"])
def test_a_peer_off_loopback_is_not(own_socket, peer):
    assert not _asks(peer=peer)
