"""Steps that misbehave. Each workflow shows one way; the worker has to live through all of them."""

import contextlib
import ctypes
import json
import os
import signal
import socket
import struct
import sys
import threading
import time

from celesta import task, workflow

COUNTER = {"calls": 0}


@task
def shout(megabytes: int) -> int:
    line = "x" * 1023
    for _ in range(megabytes * 1024):
        print(line)
    return megabytes


@task
def speak_c() -> int:
    libc = ctypes.CDLL(None)
    libc.puts(b"said by a C library")
    libc.fflush(None)
    print("said by Python", file=sys.stderr)
    return 1


@task
def fork() -> int:
    """Gives the process id of a child that would outlive the step."""
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    return child


@task
def leave() -> int:
    os._exit(3)


@task
def crash() -> int:
    os.kill(os.getpid(), signal.SIGSEGV)
    return 1


@task
def refuse() -> int:
    sys.exit("I refuse")


@task
def forge() -> int:
    """Answers by itself, to whoever waits for this step, with a result that is none."""
    answer = json.dumps({"result": {"status": "succeeded", "outputs": {"result": "free money"}}}).encode()
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(int(number))) as talk:
            talk.sendall(struct.pack("!I", len(answer)) + answer)
    return 1


@task
def leak(after: int = 0) -> int:
    """Changes a global and leaves a thread behind; gives how much of this it found when it came."""
    found = COUNTER["calls"] + threading.active_count() - 1
    COUNTER["calls"] += 1
    threading.Thread(target=time.sleep, args=(60,), daemon=False).start()
    return found


@task
def unstorable() -> int:
    return threading.Lock()  # type: ignore[return-value]


@workflow
def leaks() -> int:
    """Three attempts one after the other, each of which would see what the one before left."""
    return leak(after=leak(after=leak()))
