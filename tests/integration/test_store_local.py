"""The local store under processes that are killed, and that write at the same time."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

from celesta.store.local import LocalStore

SIZE = 3_000_000

WRITER = """
import sys
from celesta.store.local import LocalStore
store = LocalStore(sys.argv[1])
for number in range(100_000):
    store.put(f"objects/{number % 50}", bytes([number % 256]) * int(sys.argv[2]))
    print(number, flush=True)
"""

RACER = """
import sys
from celesta.store.local import LocalStore
store = LocalStore(sys.argv[1])
sys.stdin.readline()
print(*[int(store.create(f"runs/r/step{n}/1.1/result.json", sys.argv[2].encode())) for n in range(200)])
"""


def start(program: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_killed_writer_leaves_whole_objects_only(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    for after in (3, 60):  # once while objects are made, once while they are replaced
        with start(WRITER, store.root, str(SIZE)) as writer:
            assert writer.stdout is not None
            for _ in range(after):
                assert writer.stdout.readline()
            writer.kill()
        keys = list(store.list("objects/"))
        assert len(keys) >= min(after, 50)
        for key in keys:
            data = store.get(key)
            assert data is not None
            assert data == data[:1] * SIZE


def test_of_processes_that_create_the_same_objects_each_object_has_one_winner(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    racers = [start(RACER, store.root, str(number)) for number in range(3)]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("\n")
        racer.stdin.flush()
    won = [[int(word) for word in racer.communicate(timeout=60)[0].split()] for racer in racers]
    assert [sum(column) for column in zip(*won, strict=True)] == [1] * 200
    held = Counter(store.get(f"runs/r/step{n}/1.1/result.json") for n in range(200))
    assert held == Counter({str(number).encode(): sum(flags) for number, flags in enumerate(won) if sum(flags)})
