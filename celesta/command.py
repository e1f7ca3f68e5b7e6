"""The command of a container task: words with placeholders for its inputs and outputs.

`{{inputs.x}}` and `{{outputs.y}}` stand for the paths where input `x` lies and output `y` is to be left, `{{values.x}}`
for the value of input `x` as text. Called by the SDK and the checks of a spec, which refuse what names nothing, and by
executors, which fill it in. Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from celesta.errors import InputError, Problem

FOLDER = "/celesta"
"""Where inputs and outputs lie in a container."""
LONGEST_WORD = 100_000
"""Characters; the kernel takes 131,072 bytes in one word of a command."""

_PLACEHOLDER = re.compile(r"\{\{\s*(.*?)\s*\}\}")
_PARTS = re.compile(r"(inputs|values|outputs)\.(\w+)")
NAME = re.compile(r"[A-Za-z_]\w{0,99}")
"""What an input or output may be called: it is a file's name as well."""


def input_path(name: str, folder: str = FOLDER) -> str:
    """Where an input lies."""
    return f"{folder}/in/{name}"


def output_path(name: str, folder: str = FOLDER) -> str:
    """Where an output is to be left."""
    return f"{folder}/out/{name}"


def command_problems(
    command: Sequence[Any], inputs: Collection[str], outputs: Collection[str], where: str = "command"
) -> Iterator[Problem]:
    """Placeholders that stand for nothing."""
    for i, word in enumerate(command):
        for text in _PLACEHOLDER.findall(word):
            found = _PARTS.fullmatch(text)
            if found is None:
                yield Problem(
                    f"{where}[{i}]",
                    f"{{{{{text}}}}} is no placeholder: write {{{{inputs.NAME}}}}, {{{{values.NAME}}}} or "
                    "{{outputs.NAME}}",
                )
            elif found[2] not in (known := outputs if found[1] == "outputs" else inputs):
                kind = "output" if found[1] == "outputs" else "input"
                yield Problem(f"{where}[{i}]", f'there is no {kind} "{found[2]}"; {kind}s are: {_listed(known)}')


def filled(command: Sequence[str], values: Mapping[str, Callable[[], str]], folder: str = FOLDER) -> list[str]:
    """The command with its placeholders filled in. `values` are asked for the text of an input, where it is wanted.

    Raises `InputError` when a word becomes too long.
    """

    def stand_in(match: re.Match[str]) -> str:
        kind, _, name = match[1].partition(".")
        if kind == "values":
            return values[name]()
        return input_path(name, folder) if kind == "inputs" else output_path(name, folder)

    words = [_PLACEHOLDER.sub(stand_in, word) for word in command]
    for i, word in enumerate(words):
        if len(word) > LONGEST_WORD or "\0" in word:
            raise InputError(
                f"word {i} of the command has {len(word):,} characters or a NUL, which no command takes; "
                "read the value from its file, {{inputs.NAME}}"
            )
    return words


def _listed(names: Collection[str]) -> str:
    return ", ".join(names) or "none"
