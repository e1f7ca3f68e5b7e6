"""Answers to the questions of a run in this process: given beforehand by name, or asked for at the terminal.

Local runs and plain calls of `approve` and `wait_for` come here. Refuses to wait where nobody can type: the error says
how to give the answer instead.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from celesta.codecs import decode, from_plain, to_plain
from celesta.errors import InputError, Problem
from celesta.runtime.failures import plain_error
from celesta.store.local import LocalStore
from celesta.types import TypeDoc, spell

Ref = dict[str, Any]
Document = dict[str, Any]
Question = tuple[str, TypeDoc]
"""The kind of the step that asks (`approve`, `wait_for`), and the type of what it wants."""
YES, NO = ("y", "yes", "true"), ("n", "no", "false")


class Typed(str):
    """An answer as somebody typed it: what it means, the type that is wanted says (`plain_of`)."""


class Answers:
    """`given` is plain JSON by the path of the step, or `Typed`."""

    def __init__(self, given: Mapping[str, Any] | None = None) -> None:
        self.given = dict(given or {})
        self._asked: set[str] = set()

    def problems(self, questions: Mapping[str, Question], dynamic: Iterable[str], store: Any) -> list[Problem]:
        """What keeps the questions (by path) from being answered, and answers that nobody asks for. What is asked below
        the `dynamic` steps is known only when they have run."""
        later = tuple(f"{path}{mark}" for path in dynamic for mark in "/[")
        unasked = [name for name in self.given if name not in questions and not name.startswith(later)]
        wrong = [Problem(name, "is answered, and no step of this name asks") for name in unasked]
        for path, (kind, wanted) in questions.items():
            try:
                if path in self.given:
                    from_plain(self._plain(path, wanted), wanted, store, path)
                elif not can_ask():
                    wrong.append(Problem(path, _unanswered(path, kind)))
            except InputError as error:
                wrong += error.problems
        return wrong

    def not_asked(self) -> list[str]:
        """The names of the answers that no step has asked for."""
        return [name for name in self.given if name not in self._asked]

    def outcome(self, path: str, task: Document, bound: Mapping[str, Ref], store: Any) -> Document:
        """What a step that asks comes to, once it is answered. Raises `InputError` as `ref` does."""
        wanted, message = task["interface"]["outputs"][0]["type"], str(to_plain(bound["message"], store))
        result = self.ref(path, task["kind"], wanted, message, store)
        error = None
        if task["answer"]["required"] and result.get("inline") is False:
            error = plain_error("Refused", "you said no", "user")
        return {"status": "failed" if error else "succeeded", "outputs": {"result": result}, "error": error}

    def ref(self, path: str, kind: str, wanted: TypeDoc, message: str, store: Any) -> Ref:
        """The answer as a reference. Raises `InputError` when it does not fit, or when nobody can be asked."""
        if path in self.given:
            self._asked.add(path)
            return from_plain(self._plain(path, wanted), wanted, store, path)
        if not can_ask():
            raise InputError([Problem(path, _unanswered(path, kind))])
        while True:
            try:
                text = _typed(f"{path}: {message or spell(wanted)} {_hint(kind)} ")
                given = _yes_or_no(text) if kind == "approve" else plain_of(text, wanted)
                return from_plain(given, wanted, store, path)
            except (InputError, ValueError) as error:
                sys.stderr.write(f"{error}\n")

    def python(self, path: str, kind: str, wanted: TypeDoc, message: str) -> Any:
        """The answer as a Python value, for plain calls."""
        with tempfile.TemporaryDirectory(prefix="celesta-answer-") as folder:
            store = LocalStore(Path(folder) / "store")
            return decode(self.ref(path, kind, wanted, message, store), wanted, store, Path(folder))

    def _plain(self, path: str, wanted: TypeDoc) -> Any:
        given = self.given[path]
        return plain_of(given, wanted) if isinstance(given, Typed) else given


def can_ask() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def _unanswered(path: str, kind: str) -> str:
    value = "true" if kind == "approve" else "VALUE"
    return f"asks, and there is no terminal to answer at: give --answer {path}={value}, or run it on a server"


def _hint(kind: str) -> str:
    return "[y/n]" if kind == "approve" else "(JSON)"


def _typed(prompt: str) -> str:
    sys.stderr.write(prompt)
    sys.stderr.flush()
    line = sys.stdin.readline()
    if not line:
        raise InputError("the terminal was closed before the question was answered")
    return line.strip()


def _yes_or_no(text: str) -> bool:
    if text.lower() not in YES + NO:
        raise ValueError("write y or n")
    return text.lower() in YES


def plain_of(text: str, wanted: TypeDoc | None = None) -> Any:
    """JSON; or the text itself where it is none, or where text is wanted and the JSON is not that: `3`, `true`."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text  # a word without quotes is text; whether that fits is for the type to say
    members = [] if wanted is None else wanted.get("of", [wanted])
    fits = {str: "str", type(None): "none"}
    kinds = {member["kind"] for member in members}
    return value if kinds - {*fits.values()} or "str" not in kinds or fits.get(type(value)) in kinds else text
