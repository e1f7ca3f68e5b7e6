"""What a foreground stack shows: the lines of every role's log, each with the role's name before it."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

from celesta.cli.terminal import harmless

COLORS = (36, 32, 33, 35, 34)
WIDTH = 9


@dataclass
class Console:
    """Follows log files from where they end now."""

    logs: dict[str, Path]
    positions: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for role, path in self.logs.items():
            self.positions[role] = path.stat().st_size if path.exists() else 0

    def pump(self) -> None:
        """Print what came since the last call, whole lines only."""
        for role, path in self.logs.items():
            for line in self._new_lines(role, path):
                sys.stdout.write(f"{self._prefix(role)} {harmless(line)}\n")
        sys.stdout.flush()

    def _new_lines(self, role: str, path: Path) -> list[str]:
        try:
            size = path.stat().st_size
            if size == self.positions[role]:
                return []
            with path.open("rb") as file:
                file.seek(self.positions[role] if size > self.positions[role] else 0)
                data = file.read()
                whole = data[: data.rfind(b"\n") + 1]
                self.positions[role] = file.tell() - len(data) + len(whole)
        except OSError:
            return []
        return whole.decode(errors="replace").splitlines()

    def _prefix(self, role: str) -> str:
        name = f"{role:<{WIDTH}}|"
        if not sys.stdout.isatty():
            return name
        return f"\x1b[{COLORS[list(self.logs).index(role) % len(COLORS)]}m{name}\x1b[0m"
