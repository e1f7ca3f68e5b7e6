"""How an exception becomes what the run shows."""

import pytest

from celesta.errors import CodecError, StoreError
from celesta.runtime.failures import error_document, kind_of


def caught(error: BaseException) -> BaseException:
    """The exception with a traceback of this file."""
    try:
        raise error
    except BaseException as raised:
        return raised


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def test_type_message_and_the_users_frames() -> None:
    document = error_document(caught(ValueError("no")), "user")
    assert (document["type"], document["message"], document["kind"]) == ("ValueError", "no", "user")
    assert "in caught" in document["traceback"]


def test_paths_are_shown_relative_to_the_bundle() -> None:
    folder = __file__.rpartition("/")[0]
    assert 'File "test_failures.py"' in error_document(caught(ValueError("no")), "user", folder)["traceback"]


@pytest.mark.parametrize("code", [0, 3, None, "words"])
def test_an_exit_is_told_to_return(code: object) -> None:
    assert f"sys.exit({code!r})" in error_document(SystemExit(code), "user")["message"]


def test_a_memory_error_is_out_of_memory_wherever_it_comes_from() -> None:
    assert error_document(MemoryError(), "user")["kind"] == "out_of_memory"
    assert error_document(MemoryError(), "user")["message"] == "the step ran out of memory"


def test_an_exception_that_cannot_be_shown_is_still_reported() -> None:
    document = error_document(caught(Mute()), "user")
    assert document["type"] == "Mute"
    assert "RuntimeError" in document["message"]
    assert "Mute" in document["traceback"]


def test_the_cause_is_part_of_the_traceback() -> None:
    error = ValueError("outer")
    error.__cause__ = caught(KeyError("inner"))
    assert "KeyError: 'inner'" in error_document(error, "user")["traceback"]


@pytest.mark.parametrize(
    ("error", "kind"),
    [(StoreError("gone"), "system"), (CodecError("odd"), "user"), (OSError("full"), "system"), (TypeError(), "user")],
)
def test_in_our_hands_it_depends_on_what_failed(error: Exception, kind: str) -> None:
    assert kind_of(error) == kind
