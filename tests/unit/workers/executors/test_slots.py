"""Parts of a host are held by those who came first, never by more than there is room for, and not by the dead."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celesta.errors import InputError
from workers.executors.slots import Ask, Slots

ROOM = Ask(4000, 1000)
DEFAULT = Ask.of(None)


def slots(folder: Path, worker: int = 1) -> Slots:
    return Slots(folder, ROOM, worker)


def test_resources_of_a_step_document_become_an_ask() -> None:
    assert DEFAULT == Ask.of({"cpu": None, "memory_bytes": None}) == Ask(1000, 0)
    assert Ask.of({"cpu": 0.25, "memory_bytes": 7}) == Ask(250, 7)
    assert str(Ask(2500, 2**30)) == "2.5 cpu and 1,024 MiB"


@pytest.mark.parametrize(("asked", "grown", "claimed"), [(600, 900, 900), (600, 2400, 1000), (2000, 8000, 2000)])
def test_what_an_attempt_may_use_beyond_what_was_asked_for_ends_with_the_host(
    asked: int, grown: int, claimed: int
) -> None:
    ask = Ask.of({"memory_bytes": grown, "memory_asked_bytes": asked}, ROOM)
    assert ask == Ask(1000, claimed), "what is asked for and never fits is refused with its own number"


def test_a_claim_waits_until_there_is_room(tmp_path: Path) -> None:
    ledger = slots(tmp_path)
    big, small, other = (ledger.claim(ask) for ask in (Ask(3000, 0), DEFAULT, DEFAULT))
    assert big.is_admitted()
    assert small.is_admitted()
    assert not other.is_admitted()
    assert ledger.held() == Ask(4000, 0)
    small.leave()
    assert other.is_admitted()
    assert ledger.held() == Ask(4000, 0)


def test_who_waits_for_much_is_not_overtaken_by_small_ones(tmp_path: Path) -> None:
    ledger = slots(tmp_path)
    first, big, small = (ledger.claim(ask) for ask in (DEFAULT, Ask(4000, 0), DEFAULT))
    assert first.is_admitted()
    assert not big.is_admitted()
    assert not small.is_admitted()
    first.leave()
    assert not small.is_admitted()
    assert big.is_admitted()
    big.leave()
    assert small.is_admitted()


def test_a_full_memory_stops_nobody_who_asks_for_none(tmp_path: Path) -> None:
    ledger = slots(tmp_path)
    holds, waits, plain = (ledger.claim(ask) for ask in (Ask(1000, 800), Ask(1000, 800), DEFAULT))
    assert [claim.is_admitted() for claim in (holds, waits, plain)] == [True, False, True]


def test_slots_are_those_of_a_worker_and_memory_is_that_of_the_host(tmp_path: Path) -> None:
    one, two = slots(tmp_path, worker=1), slots(tmp_path, worker=2)
    assert one.claim(Ask(4000, 600)).is_admitted()
    assert two.claim(Ask(4000, 0)).is_admitted()
    assert not two.claim(Ask(0, 600)).is_admitted()


def test_what_never_fits_is_refused_with_all_reasons(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"(?s)asks for 5, and its worker has 4 slots.*asks for 2,000 bytes"):
        slots(tmp_path).claim(Ask(5000, 2000))


def test_the_claims_of_a_killed_process_end_with_it(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib\nfrom workers.executors.slots import Ask, Slots\n"
        f"s = Slots(pathlib.Path({str(tmp_path)!r}), Ask(4000, 1000), 1)\n"
        "print(s.claim(Ask(4000, 1000)).is_admitted(), flush=True)\nsys.stdin.read()"
    )
    ledger = slots(tmp_path)
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, cwd=Path.cwd()) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"True\n"
        waits = ledger.claim(DEFAULT)
        assert not waits.is_admitted()
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        assert waits.is_admitted()


@settings(max_examples=60, deadline=None)
@given(asks=st.lists(st.tuples(st.integers(1, 4000), st.integers(0, 1000)), max_size=12), data=st.data())
def test_never_more_is_held_than_there_is_and_all_are_admitted_in_the_end(
    asks: list[tuple[int, int]], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    ledger = slots(tmp_path_factory.mktemp("slots"))
    waiting, holding = [ledger.claim(Ask(*ask)) for ask in asks], []
    while waiting or holding:
        claim = data.draw(st.sampled_from(waiting + holding))
        if claim in holding:
            holding.remove(claim)
            claim.leave()
        elif claim.is_admitted():
            waiting.remove(claim)
            holding.append(claim)
        held = ledger.held()
        assert held.cpu_milli == sum(one.ask.cpu_milli for one in holding) <= ROOM.cpu_milli
        assert held.memory_bytes <= ROOM.memory_bytes
        if waiting and not holding:
            assert any(one.is_admitted() and not waiting.remove(one) and not holding.append(one) for one in [*waiting])
    ledger.close()
