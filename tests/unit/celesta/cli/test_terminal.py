"""Nothing that user code wrote steers the terminal of who reads it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celesta.cli.output import print_json, put, say, table
from celesta.cli.terminal import LONGEST_SEQUENCE, Log, harmless

STEERING = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
NASTY = "a\x1b[2Jb\x1b]0;title\x07c\x9b31md\x08e\u202ef"


def shown(*pieces: bytes) -> str:
    log = Log()
    return "".join(map(log.feed, pieces)) + log.feed(b"", final=True)


def test_control_characters_of_a_message_are_spelled_out() -> None:
    assert harmless("a\x1b[2Jb\x07\r\x9b\u202e") == "a\\x1b[2Jb\\x07\\x0d\\x9b\\u202e"
    assert harmless("a\tb\nc — é 日本") == "a\tb\nc — é 日本"


def test_whatever_a_command_says_is_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    put(NASTY)
    say(NASTY)
    table(["name"], [(NASTY,)], empty="")
    print_json({"error": NASTY})
    told = capsys.readouterr()
    assert not STEERING.search(told.out + told.err)
    assert "\\x1b[2J" in told.out
    assert "\\x1b[2J" in told.err


def test_a_log_keeps_its_colours_and_loses_all_other_sequences() -> None:
    assert shown(b"\x1b[1;31mred\x1b[0m\n") == "\x1b[1;31mred\x1b[0m\n"
    assert shown(b"a\x1b[2J\x1b[10;10Hb\x1b]0;title\x07c\x1b]52;c;aGk=\x1b\\d\x1bce\x1b(Bf") == "abcdef"
    assert shown("12%\r99%\r\n\x9b2J\x08x".encode()) == "12%\r99%\r\n2Jx"


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_a_sequence_may_be_cut_anywhere(size: int) -> None:
    data = "ä\x1b[31mred\x1b[0m \x1b]0;title\x1b\\after\x1b[2J.\x1b".encode()
    assert shown(*(data[at : at + size] for at in range(0, len(data), size))) == "ä\x1b[31mred\x1b[0m after."


def test_a_sequence_without_an_end_does_not_hold_the_log_back() -> None:
    log = Log()
    begun = b"\x1b]0;" + b"x" * 2 * LONGEST_SEQUENCE
    assert "x" * LONGEST_SEQUENCE in log.feed(begun)


@given(st.lists(st.text("\x1b[]0;m\x07\\Jx\x9b\n"), max_size=8))
def test_nothing_but_colours_comes_through(pieces: list[str]) -> None:
    rest = re.sub(r"\x1b\[[0-9;:]*m", "", shown(*(piece.encode() for piece in pieces)))
    assert not STEERING.search(rest)
