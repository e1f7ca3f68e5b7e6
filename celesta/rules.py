"""Rules by which a run comes out as it does, on a server and here alike, and what is told where one ends it.

Pure. The engine (`workers.engine`) and local runs (`celesta.local`) ask here, so that they agree by construction.
"""

from celesta.errors import SpecError
from celesta.graph import MOST_NESTED


def is_enough(width: int, bad: int, ratio: float) -> bool:
    """Whether a map of so many items succeeds though `bad` of them did not; `ratio` is its `min_success_ratio`."""
    return width - bad >= ratio * width - 1e-9  # 0.07 * 100 is more than 7


def told_of_parts(bad: int, parts: str, path: str, message: str) -> str:
    """Why a map, or a dynamic step, failed: by the first of its items or steps that did."""
    return f"{bad} of its {parts} did not succeed; the first to fail was {path}: {message}"


def told_of_timeout(seconds: float) -> str:
    """Why a run failed that was ended by its timeout."""
    return f"the run took longer than its timeout of {seconds:g} s, and was ended"


def require_depth(node: str, name: str) -> None:
    """Raises `SpecError` where a dynamic step lies too deep in others to open steps of its own."""
    if node.count("/") >= MOST_NESTED:
        raise SpecError(
            f'dynamic steps lie {MOST_NESTED} deep in each other, and "{name}" would open another: let it come to an '
            "end without calling itself, or do the rest in one task"
        )
