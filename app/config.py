"""The server's configuration: read once from the environment, frozen, all problems reported together.

Owns every `CELESTA_*` variable that a server process reads, with its unit, default and reason. The roles of
`celesta server`, the supervisor and the tests build a `Config` and pass it on; no other module of `app` or `workers`
looks at the environment. Refuses what it cannot use before anything is opened.
"""

import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

from app.cluster_config import ClusterConfig, read_cluster
from celesta.errors import ConfigError, Problem

T = TypeVar("T")

DATABASE_SCHEMES = ("sqlite", "postgresql", "postgresql+psycopg")
REDIS_SCHEMES = ("redis", "rediss", "unix")
BROKER_SCHEMES = (*REDIS_SCHEMES, "amqp", "amqps")
STORE_SCHEMES = ("file", "s3")
_SECRET = re.compile(r"([a-z0-9-]+):([A-Za-z_]\w*)(?:=([A-Za-z_]\w*))?", re.ASCII)


def _host_memory() -> int:
    """Bytes of memory of this host, or what its container is limited to."""
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            sizes.append(int(Path(limit).read_text()))
    return min(sizes)


@dataclass(frozen=True, kw_only=True)
class Config:
    """What a server process needs to know; build it with `Config.from_env`, or directly in tests."""

    home: Path
    """Folder of the embedded state; may not exist where every URL below is given."""
    database_url: str
    redis_url: str
    """Hot state of the engine and the event streams."""
    broker_url: str
    """Celery's queues; the same server as `redis_url` unless told otherwise. It may be a RabbitMQ (`amqp://`)."""
    store_url: str
    s3_endpoint_url: str | None = None
    url: str | None = None
    """Address under which people reach the dashboard; run documents link to it."""
    executor: str = "process"
    """Default executor of steps: a known name or a dotted path."""
    secret_key: str = field(default="", repr=False)
    """Signs sessions. Empty: one is made and kept in `home`, for a single machine; without `loopback_auth` the web role
    refuses that."""
    secrets: Mapping[str, Mapping[str, str]] = field(default_factory=dict, hash=False)
    """By project: the secrets that its steps may have, and the variables of the workers that hold their values. Of the
    executors on a worker's host; in a cluster they are in a Secret of the project's namespace."""
    loopback_auth: bool = False
    """Trust a loopback peer of the same operating-system user; `celesta up` turns it on."""
    lease_seconds: float = 10.0
    """How long a silent attempt is believed to live; a lost worker delays its steps by about this much."""
    slots: int = 2
    """Steps that run at a time in one worker."""
    memory_bytes: int = field(default_factory=_host_memory)
    """What the steps of this host that ask for memory may ask for together; all that the host or the container has."""
    shards: int = 1
    """Event streams and run shards in Redis; 16 on a cluster."""
    alive_file: Path | None = None
    """A file that the role of this process touches while it does its work; `celesta server alive` looks at it."""
    docker_host: str | None = None
    """Socket of Docker or Podman, for the docker executor; looked for in the usual places when not given."""
    docker_network: str = "bridge"
    """Network of its containers: a name, `host` or `none`."""
    runtime_image: str = "celesta:latest"
    """Brings the runtime into containers that run steps; any image with Python 3.11 or newer will do."""
    step_image: str | None = None
    """Image of Python tasks that name none; `runtime_image` when not given."""
    step_api_url: str | None = None
    """Address of the REST API as the containers of steps reach it; `url` when not given."""
    step_access: str = "token"
    """How such a step reaches the store: by the API with its `token`, or itself with its own `identity`."""
    step_token_seconds: float = 21_600.0
    """How long a step's token works; a running step is given fresh ones, so this bounds how long one may wait."""
    max_blob_bytes: int = 5 * 2**30
    max_body_bytes: int = 64 * 2**20
    """Largest JSON body; a spec of 10,000 steps has about 4 MB."""
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    """The Kubernetes cluster on which steps run as pods, where they do."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> "Config":
        """Raises `ConfigError` naming every variable that is wrong, at once."""
        read = _Reader(os.environ if environ is None else environ)
        home = read("CELESTA_HOME", Path.home() / ".celesta", _home)
        redis_url = read("CELESTA_REDIS_URL", f"unix://{home}/run/redis.sock?db=0", _url(*REDIS_SCHEMES))
        config = {
            "home": home,
            "redis_url": redis_url,
            "database_url": read("CELESTA_DATABASE_URL", f"sqlite:///{home}/celesta.db", _database_url),
            "broker_url": read("CELESTA_BROKER_URL", redis_url, _url(*BROKER_SCHEMES)),
            "store_url": read("CELESTA_STORE_URL", f"file://{home}/store", _url(*STORE_SCHEMES)),
            "s3_endpoint_url": read("CELESTA_S3_ENDPOINT_URL", None, _url("http", "https")),
            "url": read("CELESTA_URL", None, _url("http", "https")),
            "executor": read("CELESTA_EXECUTOR", cls.executor, str),
            "secret_key": read("CELESTA_SECRET_KEY", cls.secret_key, _secret_key),
            "secrets": read("CELESTA_SECRETS", {}, _secrets),
            "loopback_auth": read("CELESTA_LOOPBACK_AUTH", cls.loopback_auth, _boolean),
            "lease_seconds": read("CELESTA_LEASE_SECONDS", cls.lease_seconds, _number(float, 1.0)),
            "slots": read("CELESTA_SLOTS", max(2, os.cpu_count() or 2), _number(int, 1)),
            "memory_bytes": read("CELESTA_MEMORY", _host_memory(), _size),
            "shards": read("CELESTA_SHARDS", cls.shards, _number(int, 1)),
            "alive_file": read("CELESTA_ALIVE_FILE", None, Path),
            "docker_host": read("DOCKER_HOST", None, str),
            "docker_network": read("CELESTA_DOCKER_NETWORK", cls.docker_network, str),
            "runtime_image": read("CELESTA_RUNTIME_IMAGE", cls.runtime_image, str),
            "step_image": read("CELESTA_STEP_IMAGE", None, str),
            "step_api_url": read("CELESTA_STEP_API_URL", None, _url("http", "https")),
            "step_access": read("CELESTA_STEP_ACCESS", cls.step_access, _one_of("token", "identity")),
            "step_token_seconds": read("CELESTA_STEP_TOKEN_SECONDS", cls.step_token_seconds, _number(float, 60.0)),
            "max_blob_bytes": read("CELESTA_MAX_BLOB_BYTES", cls.max_blob_bytes, _number(int, 1)),
            "max_body_bytes": read("CELESTA_MAX_BODY_BYTES", cls.max_body_bytes, _number(int, 1)),
            "cluster": read_cluster(read, _number),
        }
        if read.problems:
            raise ConfigError("the configuration has problems", problems=read.problems)
        return cls(**config)

    @property
    def celery_broker_url(self) -> str:
        """The broker's URL in Celery's spelling, which has a scheme of its own for Unix sockets."""
        parts = urlsplit(self.broker_url)
        if parts.scheme != "unix":
            return self.broker_url
        virtual_host = parse_qs(parts.query).get("db", ["0"])[0]
        password = f":{parts.password}@" if parts.password else ""
        return f"redis+socket://{password}{parts.path}?virtual_host={virtual_host}"

    @property
    def sqlalchemy_url(self) -> str:
        """The database's URL with the driver that we ship (psycopg 3 for PostgreSQL)."""
        scheme, rest = self.database_url.split(":", 1)
        return f"{'postgresql+psycopg' if scheme == 'postgresql' else scheme}:{rest}"


class _Reader:
    """Reads variables one by one and keeps the problems, so that they are told together."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.problems: list[Problem] = []

    def __call__(self, name: str, default: Any, parse: Callable[[str], T]) -> Any:
        text = self.environ.get(name, "").strip()
        if not text:
            return default
        try:
            return parse(text)
        except ValueError as error:
            self.problems.append(Problem(name, str(error)))
            return default


def _home(text: str) -> Path:
    return Path(text).expanduser().absolute()


def _url(*schemes: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if urlsplit(text).scheme not in schemes:
            raise ValueError(f"wants a URL that starts with {' or '.join(f'{scheme}://' for scheme in schemes)}")
        return text

    return parse


def _database_url(text: str) -> str:
    text = "postgresql:" + text.removeprefix("postgres:") if text.startswith("postgres:") else text
    return _url(*DATABASE_SCHEMES)(text)


def _secret_key(text: str) -> str:
    if len(text) < 16:
        raise ValueError(
            "wants at least 16 characters; make one with: python -c 'import secrets; print(secrets.token_hex())'"
        )
    return text


def _secrets(text: str) -> dict[str, dict[str, str]]:
    """`project:NAME` or `project:NAME=VARIABLE`, with commas between."""
    opened: dict[str, dict[str, str]] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        found = _SECRET.fullmatch(entry)
        if found is None:
            raise ValueError(f"wants project:NAME or project:NAME=VARIABLE, with commas between, not {entry!r}")
        project, name, variable = found.groups()
        variable = variable or name
        if variable.startswith("CELESTA_"):
            raise ValueError(f"{variable} is a variable of Celesta itself, which no step may read: take another")
        opened.setdefault(project, {})[name] = variable
    return opened


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"wants {' or '.join(words)}, not {text!r}")
        return text

    return parse


def _boolean(text: str) -> bool:
    known = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if text.lower() not in known:
        raise ValueError("wants on or off")
    return known[text.lower()]


def _size(text: str) -> int:
    from celesta.units import parse_bytes

    size = parse_bytes(text)
    if size is None:
        raise ValueError(f"wants a size such as 8Gi, not {text!r}")
    return size


def _number(kind: Callable[[str], float], least: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            raise ValueError(f"wants a number, not {text!r}") from None
        if not value >= least:
            raise ValueError(f"wants at least {least}, not {text}")
        return value

    return parse
