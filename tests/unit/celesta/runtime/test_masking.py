"""What hides the values of secrets, in whatever pieces they come."""

import base64
import os
from pathlib import Path
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celesta.runtime.masking import Mask, Stream, mask_of, without

VALUE = 'open "sesame"\\now&then'
PIECES = st.lists(st.sampled_from(["abcd", "abcdabcf", "abc", "d", "bcda", "cf", "x"]), max_size=12)


def through(mask: Mask, pieces: list[str]) -> str:
    stream = Stream(mask)
    return b"".join([*(stream.feed(piece.encode()) for piece in pieces), stream.end()]).decode()


@pytest.mark.parametrize(
    "spelling",
    [
        VALUE,
        repr(VALUE)[1:-1],
        quote_plus(VALUE),
        base64.b64encode(VALUE.encode()).decode().rstrip("="),
        base64.urlsafe_b64encode(VALUE.encode()).decode().rstrip("="),
    ],
)
def test_a_value_is_hidden_as_it_is_and_as_it_is_usually_encoded(spelling: str) -> None:
    assert Mask([VALUE]).text(f"<{spelling}>") == "<***>"


@pytest.mark.parametrize("user", ["", "a", "ab", "abc"])
def test_a_value_is_hidden_where_it_is_encoded_with_something_before_and_behind(user: str) -> None:
    sent = base64.b64encode(f"{user}hunter22xyzzy!".encode()).decode()
    shown = Mask(["hunter22xyzzy"]).text(sent)
    assert shown.count("***") == 1
    assert len(shown.replace("***", "")) <= len(base64.b64encode(user.encode())) + 4


def test_a_line_of_a_key_is_hidden_alone_too() -> None:
    line = "MIIEvgIBADANBgkqhkiG9w0BAQEF"
    assert Mask([f"-----BEGIN-----\n{line}\n-----END-----\n"]).text(f"    {line},") == "    ***,"


def test_what_is_too_short_to_be_secret_is_shown() -> None:
    assert mask_of({"A": "on", "B": " 42\n", "C": ""}) is None
    mask = mask_of({"A": "on", "B": "1234"})
    assert mask is not None
    assert mask.text("on 1234") == "on ***"


def test_a_longer_value_goes_before_one_that_it_begins_with() -> None:
    assert Mask(["abcd", "abcdefgh"]).text("abcdefgh abcd") == "*** ***"


@given(PIECES)
def test_pieces_come_out_as_the_whole_would(pieces: list[str]) -> None:
    mask = Mask(["abcd", "abcdabcf", "bcdabcdx"])
    assert through(mask, pieces) == mask.text("".join(pieces))


def test_only_what_may_begin_a_value_waits_for_more() -> None:
    stream = Stream(Mask(["open sesame"]))
    assert [stream.feed(piece) for piece in (b"say op", b"en", b" sesame now\n", b"op")] == [
        b"say ",
        b"",
        b"*** now\n",
        b"",
    ]
    assert stream.end() == b"op"


def test_names_numbers_and_shape_of_a_document_stay() -> None:
    document = {"error": {"message": "not hunter22", "bases": ["A", "hunter22"]}, "size": 3, "report": None}
    shown = Mask(["hunter22"]).document(document)
    assert shown == {"error": {"message": "not ***", "bases": ["A", "***"]}, "size": 3, "report": None}


def test_a_copy_of_a_file_hides_a_value_across_its_pieces(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"x" * ((1 << 16) - 4) + b"hunter22" + b"hunt")
    file = os.open(tmp_path / "log", os.O_RDONLY)
    for ended, rest in ((True, b"***hunt"), (False, b"***")):
        with without(Mask(["hunter22"]), file, ended) as copy:
            assert os.pread(copy, 1 << 20, (1 << 16) - 4) == rest
    os.close(file)
