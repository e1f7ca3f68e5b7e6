"""What may reach a terminal: text of others without the control characters that would steer it.

Error messages, names and logs are written by user code. A terminal obeys escape sequences: they move the cursor,
rename the window, put text on the clipboard, hide what stands there. `celesta.cli.output` passes every line through
`harmless`; logs go through `Log`, which keeps their colours.
"""

from __future__ import annotations

import codecs
import re

LONGEST_SEQUENCE = 4_096
"""Of a sequence that has not ended by then only the introducer is taken away; what follows is text."""
# All but tab and new line; those of the C1 set, and what turns the direction of a line around.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_IN_A_LOG = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_COLOURS = re.compile(r"(\x1b\[[0-9;:]*m)")
_SEQUENCE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # control sequences: ESC [ … letter
    r"|\x1b[\]PX^_][^\x1b\x07\n]*(?:\x07|\x1b\\)"  # strings for the terminal itself: titles, clipboard, links
    r"|\x1b[ -/]+[0-~]|\x1b[0-Z\\^`-~]"  # all others
)
# The same, without the end that may come with the next piece.
_BEGUN = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x1b\x07\n]*\x1b?|[ -/]+)?\Z")


def harmless(text: str) -> str:
    """The text with its control characters spelled out: `\\x1b[2J`."""
    return _CONTROL.sub(_spelled, text)


def _spelled(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


class Log:
    """A log on its way to a terminal, in pieces that may end anywhere: colours stay, all other sequences go."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""

    def feed(self, piece: bytes | str, *, final: bool = False) -> str:
        """What may be shown by now; the begin of a sequence is held back until its end comes."""
        text = self._held + (self._decoder.decode(piece, final) if isinstance(piece, bytes) else piece)
        begun = None if final else _BEGUN.search(text, max(0, len(text) - LONGEST_SEQUENCE))
        cut = begun.start() if begun else len(text)
        self._held = text[cut:]
        return "".join(map(_washed, _COLOURS.split(text[:cut])))


def _washed(part: str) -> str:
    return part if _COLOURS.fullmatch(part) else _IN_A_LOG.sub("", _SEQUENCE.sub("", part))
