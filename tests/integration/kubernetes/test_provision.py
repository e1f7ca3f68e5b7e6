"""`celesta projects provision` as an administrator runs it, against an API server that keeps what it is sent."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fixtures.cluster import kubeconfig

FORBIDDEN = {"kind": "Status", "message": "user cannot patch resource namespaces", "reason": "Forbidden", "code": 403}


class Server(ThreadingHTTPServer):
    """Keeps objects by their paths."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[str, Any] = {}
        self.kinds_of_body: set[str] = set()
        self.allowed = True


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_PATCH(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        path, _, query = self.path.partition("?")
        assert "fieldManager=celesta" in query
        self.server.kinds_of_body.add(self.headers["Content-Type"])
        if self.server.allowed:
            self.server.objects[path] = body
        answer = json.dumps(body if self.server.allowed else FORBIDDEN).encode()
        self.send_response(200 if self.server.allowed else 403)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        """Nothing is printed."""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        file = tmp_path / "kubeconfig"
        file.write_text(yaml.safe_dump(kubeconfig(f"http://127.0.0.1:{server.server_port}")))
        monkeypatch.setenv("KUBECONFIG", str(file))
        yield server
        server.shutdown()
        thread.join()


def provision(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from celesta.cli import main; main()", "projects", "provision", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_a_project_gets_its_namespace_and_all_that_belongs_there_again_and_again(server: Server) -> None:
    for _ in range(2):
        done = provision("vision", "--pods", "7")
        assert done.returncode == 0, done.stderr
        assert "celesta-vision" in done.stderr
    inside = "/api/v1/namespaces/celesta-vision"
    rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/celesta-vision"
    assert set(server.objects) == {
        inside,
        f"{inside}/resourcequotas/celesta",
        f"{inside}/limitranges/celesta",
        "/apis/networking.k8s.io/v1/namespaces/celesta-vision/networkpolicies/celesta",
        *(f"{rbac}/{kind}/celesta-{who}" for kind in ("roles", "rolebindings") for who in ("worker", "watcher")),
    }
    assert server.objects[f"{inside}/resourcequotas/celesta"]["spec"]["hard"]["pods"] == "7"
    assert server.kinds_of_body == {"application/apply-patch+yaml"}


def test_rights_that_are_missing_are_told_as_the_cluster_says_it(server: Server) -> None:
    server.allowed = False
    done = provision("vision")
    assert done.returncode != 0
    assert "cannot patch resource namespaces" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_dry_run_asks_no_cluster_and_prints_what_kubectl_takes(server: Server) -> None:
    done = provision("vision", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert server.objects == {}
    kinds = [document["kind"] for document in yaml.safe_load_all(done.stdout)]
    assert kinds[0] == "Namespace"
    assert len(kinds) == 8
