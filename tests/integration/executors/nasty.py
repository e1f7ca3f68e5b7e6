"""The steps of the contract suite: well-behaved ones, and all that a user's code can do to its process.

Never imported by the tests: it is the content of the bundles that they submit.
"""

import asyncio
import base64
import contextlib
import ctypes
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

from celesta.files import File
from celesta.runtime.context import current

SEEN_AT_IMPORT = os.environ.get("NASTY")
_COUNTER = []


class Pair(NamedTuple):
    total: int
    label: str


def add(a, b):
    return a + b


def pair():
    return Pair(3, "three")


def sockets():
    names = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            names.append(os.readlink(f"/proc/self/fd/{number}"))
    return sorted(name for name in names if name.startswith("socket:"))


async def later():
    await asyncio.sleep(0)
    return current().step_path


def nothing():
    return None


def fail():
    raise ValueError("the shoe is too small")


def text():
    return "seven"


def generator():
    return (n for n in range(3))


def leave_by_exit():
    sys.exit(3)


def leave_at_once():
    os._exit(3)


def segfault():
    ctypes.string_at(0)


def abort():
    os.abort()


def kill_myself():
    os.kill(os.getpid(), signal.SIGKILL)


def interrupt():
    raise KeyboardInterrupt


def run_out_of_memory():
    raise MemoryError


def exhaust_the_stack():
    return exhaust_the_stack()


def print_megabytes():
    for _ in range(40):
        print("x" * 100_000)
    return 1


def print_in_all_ways():
    print("from python")
    sys.stderr.write("from stderr\n")
    ctypes.CDLL(None).puts(b"from C")  # Stays in C's own buffer: nobody flushes it.
    subprocess.run(["echo", "from a child"], check=True)
    os.write(1, b"from a descriptor\n")
    print("no newline at the end", end="")
    return 1


def print_and_die():
    print("last words")
    os._exit(9)


def close_everything():
    os.closerange(0, 1024)
    return 1


def fork_and_return_twice():
    os.fork()
    return os.getpid()


def leave_a_child(pids):
    child = subprocess.Popen(["sleep", "600"])
    Path(pids).write_text(str(child.pid))
    return 1


def leave_a_daemon(pids, then="return"):
    """A grandchild in a session of its own, that ignores what it can."""
    read, write = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        Path(pids).write_text(str(os.getpid()))
        os.write(write, b"!")
        time.sleep(600)
    os.read(read, 1)
    if then == "exit":
        os._exit(4)
    if then == "sleep":
        time.sleep(600)
    return 1


def sleep_for_ever(started):
    Path(started).write_text(str(os.getpid()))
    time.sleep(600)


def ignore_the_end(started):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path(started).write_text(str(os.getpid()))
    while True:
        time.sleep(600)


def count_and_spoil():
    """What a step finds of what the one before did; then it does it all again."""
    found = {
        "counter": len(_COUNTER),
        "threads": threading.active_count(),
        "folder": os.listdir(),
        "variable": os.environ.get("SPOILED"),
        "recursion": sys.getrecursionlimit(),
        "stdout": sys.stdout is sys.__stdout__,
    }
    _COUNTER.append(1)
    threading.Thread(target=time.sleep, args=(600,)).start()
    Path("rubbish").mkdir()
    Path("rubbish/file").write_text("x")
    Path("rubbish").chmod(0o500)
    os.environ["SPOILED"] = "yes"
    sys.setrecursionlimit(500)
    sys.stdout = None
    os.chdir("/")
    return found


def where():
    return [os.getcwd(), os.getpid(), os.getsid(0)]


def write_file():
    Path("model.bin").write_bytes(b"weights")
    return File("model.bin")


def read_file(file):
    writable = True
    try:
        Path(file.path).open("ab").close()
    except OSError:
        writable = False
    return [Path(file.path).read_text(), os.listdir(), os.getuid() == 0 or not writable]


def speak():
    context = current()
    context.log_metric("loss", 0.5, step=1)
    context.log_metric("loss", float("nan"), step=2)
    context.log_text("a line of text")
    context.report("<h1>fine</h1>")
    found = []
    thread = threading.Thread(target=lambda: found.append(current().run_id))
    thread.start()
    thread.join()
    return [context.run_id, context.step_path, str(context.attempt), context.idempotency_key, *found]


def tell_secret():
    return current().secret("password")[::-1]


def blurt():
    """Tells its secret wherever it can."""
    value = current().secret("password")
    print("it is", value)
    print("in a URL:", value.replace(" ", "%20"))
    print("in halves:", value[:5], end="", flush=True)
    os.write(1, value[5:].encode() + b"\n")
    print("as it crosses:", base64.b64encode(value.encode()).decode())
    current().log_metric(f"loss of {value}", 1)
    current().report(f"<p>{value}</p>")
    raise ValueError(f"not {value}")


def blurt_and_exit():
    print("it is", current().secret("password"), flush=True)
    os._exit(3)


def blurt_slowly(until):
    """Tells half of its secret, and the rest when it is told to."""
    value = current().secret("password").encode()
    os.write(1, b"it is " + value[:5])
    while not os.path.exists(until):
        time.sleep(0.01)
    os.write(1, value[5:] + b"\n")


def go_on():
    """Fails in its first attempt, and goes on from there in the second."""
    place = current().checkpoint / "epoch"
    if place.exists():
        return int(place.read_text())
    place.write_text("41")
    raise RuntimeError("evicted")


def count_attempts(until):
    """Counts in its checkpoint, and fails until it has come so far."""
    place = current().checkpoint / "below" / "count"
    place.parent.mkdir(exist_ok=True)
    count = int(place.read_text()) + 1 if place.exists() else 1
    place.write_text(str(count))
    if count < until:
        raise RuntimeError(f"attempt {count}")
    return count


def keep_and_sleep(place):
    """Keeps something and never ends; the next attempt says what was kept."""
    kept = current().checkpoint / "state"
    if kept.exists():
        return kept.read_text()
    kept.write_text("kept")
    with open(place + ".new", "w") as file:
        file.write(str(os.getpid()))
    os.rename(place + ".new", place)
    time.sleep(600)


def environment():
    return [SEEN_AT_IMPORT, *sorted(name for name in os.environ if name.startswith(("CELESTA_", "PYTHONSAFE")))]


def count_slowly(until):
    n = 0
    while not os.path.exists(until):
        print("line", n)
        n += 1
        time.sleep(0.05)
    return n


def random_number():
    import random

    with contextlib.suppress(ImportError):
        import numpy

        return [random.random(), float(numpy.random.random())]
    return [random.random(), random.random()]


def forge(answer, whole=True, started=""):
    """Writes an answer of its own to whoever waits for the step's."""
    data = answer.encode()
    head = struct.pack("!I", len(data) if whole else len(data) + 10)
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(int(number))) as talk:
            if talk.type == socket.SOCK_STREAM:
                talk.sendall(head + data)
    if started:
        sleep_for_ever(started)
    return 1
