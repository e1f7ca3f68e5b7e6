"""Steps that belong together in a drawing: those of a workflow that was called inside another, by their paths.

Called by `workflow_query` and `graph_layout`. Pure. A group has its steps in one piece in every layer, so that a frame
around a piece encloses nothing else; a group inside of another is in one piece of that.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

PADDING = 6
LABEL = 14  # the height of a group's name, above its first piece

Belongs = Sequence[Sequence[int]]
"""For each node the groups that it is in, the outermost first."""


def groups_of(paths: Sequence[str]) -> tuple[list[str], list[list[int]]]:
    """The paths of all groups, and for each step the numbers of its own."""
    number: dict[str, int] = {}
    belongs = []
    for path in paths:
        parts = path.split("/")[:-1]
        belongs.append([number.setdefault("/".join(parts[: end + 1]), len(number)) for end in range(len(parts))])
    return list(number), belongs


def keep_together(column: list[int], belongs: Belongs) -> None:
    """Moves the nodes of a layer as little as their groups' being in one piece asks for."""
    places: dict[int, list[int]] = {}
    for place, node in enumerate(column):
        for group in _of(belongs, node):
            places.setdefault(group, []).append(place)
    middle = {group: sum(own) / len(own) for group, own in places.items()}
    at = {node: [*((middle[g], g) for g in _of(belongs, node)), (place, -1)] for place, node in enumerate(column)}
    column.sort(key=at.__getitem__)


def begins(column: Sequence[int], belongs: Belongs) -> set[int]:
    """The nodes above which the name of a group has to fit: the first of each outermost piece."""
    return {nodes[0] for _, nodes in _pieces(column, belongs, 0)}


def frames(
    columns: Sequence[Sequence[int]],
    belongs: Belongs,
    boxes: Sequence[tuple[int, int, int]],
    size: tuple[int, int],
) -> list[tuple[int, int, int, int, int]]:
    """Around each piece (left, top, width, height, group), outer ones first. `boxes` has left and top by node."""
    found = []
    for depth in range(max(map(len, belongs), default=0)):
        padding = max(1, PADDING - 2 * depth)
        for column in columns:
            for group, nodes in _pieces(column, belongs, depth):
                inside = [boxes[node] for node in nodes]
                left, top = inside[0][0] - padding, inside[0][1] - padding
                height = inside[-1][1] + size[1] + padding - top
                found.append((left, top, size[0] + 2 * padding, height, group))
    return found


def _pieces(column: Sequence[int], belongs: Belongs, depth: int) -> Iterator[tuple[int, list[int]]]:
    """What stands together of each group of this depth."""
    pieces = groupby(column, key=lambda node: next(iter(_of(belongs, node)[depth:]), -1))
    return ((group, list(nodes)) for group, nodes in pieces if group >= 0)


def _of(belongs: Belongs, node: int) -> Sequence[int]:
    """A waypoint of an edge is in none."""
    return belongs[node] if node < len(belongs) else ()
