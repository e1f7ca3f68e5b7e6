"""Where the boxes of a DAG go: layers from left to right, few crossings, short edges.

Called by `workflow_query.graph` for the REST endpoint and for the drawings of the dashboard. Pure: indexes in,
numbers out, the same answer for the same graph. It knows nothing of steps and states; a unit is a pixel at zoom 1.

The method is that of Sugiyama, Tagawa and Toda (1981): layers by longest path, order by barycentre sweeps, then
coordinates by isotonic regression (pool adjacent violators), which is the least-squares placement that keeps the order
and the distance. Edges over several layers get a waypoint in each layer between, unless the graph is so large that
nobody could follow one edge by eye.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import ceil, sqrt

from app.services.graph_groups import LABEL, Belongs, begins, frames, keep_together

NODE_WIDTH = 168
NODE_HEIGHT = 36
LAYER_GAP = 56
NODE_GAP = 16
MARGIN = 16
FOLD_AT = 64  # a layer of more nodes than this is folded into a grid: one column of 10,000 is a thread, not a drawing
MAX_WAYPOINTS = 4_000  # above, long edges are drawn straight
SWEEPS = 4

Edges = Sequence[tuple[int, int]]
Links = list[list[int]]


@dataclass(frozen=True)
class Layout:
    """`nodes` has (left, top, layer) by index, `routes` the waypoints of long edges by the edge's position."""

    width: int
    height: int
    nodes: list[tuple[int, int, int]]
    routes: dict[int, list[tuple[int, int]]]
    frames: list[tuple[int, int, int, int, int]]
    """Around the parts of groups: left, top, width, height, and the group."""

    def document(self) -> dict[str, object]:
        return asdict(self)


def layout(count: int, edges: Edges, belongs: Belongs = ()) -> Layout:
    """Places `count` nodes joined by `edges` (from, to). The graph is acyclic and every index below `count`. `belongs`
    has the groups of each node, whose nodes stay together."""
    layer = _layers(count, edges)
    parents, children, chains = _with_waypoints(layer, edges)
    columns: Links = [[] for _ in range(max(layer, default=-1) + 1)]
    for node, level in enumerate(layer):
        columns[level].append(node)
    _order(columns, parents, children)
    if any(belongs):
        for column in columns:
            keep_together(column, belongs)
    lefts, width = _lefts(columns)
    centres = _centres(columns, parents, children, count, belongs)
    margin = MARGIN + LABEL if any(belongs) else MARGIN
    nodes, routes, height = _draw(columns, lefts, centres, layer, count, chains, margin)
    unfolded = [column if len(column) <= FOLD_AT else [] for column in columns] if any(belongs) else []
    framed = frames(unfolded, belongs, nodes, (NODE_WIDTH, NODE_HEIGHT))
    return Layout(width, height, nodes, routes, framed)


def _layers(count: int, edges: Edges) -> list[int]:
    """The longest path to each node: a step stands right of everything that it waits for."""
    children: Links = [[] for _ in range(count)]
    waiting = [0] * count
    for source, target in edges:
        children[source].append(target)
        waiting[target] += 1
    layer = [0] * count
    ready = [node for node in range(count) if not waiting[node]]
    for node in ready:  # grows while it is walked
        below = layer[node] + 1
        for child in children[node]:
            if layer[child] < below:
                layer[child] = below
            waiting[child] -= 1
            if not waiting[child]:
                ready.append(child)
    if len(ready) < count:
        raise ValueError("the graph has a cycle, and only an acyclic graph can be laid out")
    return layer


def _with_waypoints(layer: list[int], edges: Edges) -> tuple[Links, Links, dict[int, list[int]]]:
    """Neighbours of each node, with a waypoint (an extra node, appended to `layer`) wherever an edge passes a layer."""
    count = len(layer)
    extra = sum(layer[target] - layer[source] - 1 for source, target in edges)
    routed = extra <= MAX_WAYPOINTS
    total = count + (extra if routed else 0)
    parents: Links = [[] for _ in range(total)]
    children: Links = [[] for _ in range(total)]
    chains: dict[int, list[int]] = {}
    for position, (source, target) in enumerate(edges):
        last = source
        if routed and layer[target] - layer[source] > 1:
            first = len(layer)
            layer.extend(range(layer[source] + 1, layer[target]))
            chains[position] = list(range(first, len(layer)))
            for waypoint in chains[position]:
                children[last].append(waypoint)
                parents[waypoint].append(last)
                last = waypoint
        children[last].append(target)
        parents[target].append(last)
    return parents, children, chains


def _order(columns: Links, parents: Links, children: Links) -> None:
    """Barycentre sweeps, right and left in turn: each node moves to the mean rank of its neighbours on that side."""
    rank = [0.0] * len(parents)
    for column in columns:
        _rank(column, rank)
    for sweep in range(SWEEPS):
        neighbours = children if sweep % 2 else parents
        for column in reversed(columns) if sweep % 2 else columns:
            if len(column) > 1:
                mean = {node: _mean(neighbours[node], rank, rank[node]) for node in column}
                column.sort(key=mean.__getitem__)
                _rank(column, rank)


def _rank(column: list[int], rank: list[float]) -> None:
    """Ranks run from 0 to 1 in every layer, so that neighbours in layers of other widths compare."""
    size = len(column)
    for place, node in enumerate(column):
        rank[node] = (place + 0.5) / size


def _mean(nodes: list[int], value: list[float], otherwise: float) -> float:
    if not nodes:
        return otherwise
    if len(nodes) == 1:
        return value[nodes[0]]
    return sum([value[node] for node in nodes]) / len(nodes)


def _rows(column: list[int]) -> int:
    """How many nodes stand above each other: all, or, in a folded layer, what makes the grid about square."""
    size = len(column)
    if size <= FOLD_AT:
        return max(size, 1)
    return ceil(sqrt(size * (NODE_WIDTH + NODE_GAP) / (NODE_HEIGHT + NODE_GAP)))


def _lefts(columns: Links) -> tuple[list[int], int]:
    lefts, x = [], MARGIN
    for column in columns:
        lefts.append(x)
        folds = ceil(len(column) / _rows(column))
        x += folds * NODE_WIDTH + (folds - 1) * NODE_GAP + LAYER_GAP
    return lefts, x - LAYER_GAP + MARGIN if columns else 2 * MARGIN


def _centres(columns: Links, parents: Links, children: Links, count: int, belongs: Belongs) -> list[float]:
    """The vertical centre of every node and waypoint, pulled towards its neighbours three times."""
    pitch = NODE_HEIGHT + NODE_GAP
    centre = [0.0] * len(parents)
    for column in columns:
        rows = _rows(column)
        for place, node in enumerate(column):
            centre[node] = (place % rows - (min(rows, len(column)) - 1) / 2) * pitch
    for neighbours in (parents, children, parents):
        for column in reversed(columns) if neighbours is children else columns:
            if len(column) > FOLD_AT:
                continue
            wanted = [_mean(neighbours[node], centre, centre[node]) for node in column]
            named = begins(column, belongs) if belongs else ()
            gaps = [(pitch if node < count else pitch / 2) + (2 * LABEL if node in named else 0) for node in column]
            for node, middle in zip(column, _spread(wanted, gaps), strict=True):
                centre[node] = middle
    return centre


def _spread(wanted: list[float], gaps: list[float]) -> list[float]:
    """The places nearest to `wanted` (least squares) that keep the order and stay `gaps` apart."""
    offsets, at = [], 0.0
    for place, gap in enumerate(gaps):
        at += (gap + gaps[place - 1]) / 2 if place else 0.0
        offsets.append(at)
    blocks: list[tuple[float, int]] = []  # (sum of wanted - offset, members)
    for value, offset in zip(wanted, offsets, strict=True):
        total, members = value - offset, 1
        while blocks and blocks[-1][0] / blocks[-1][1] >= total / members:
            before, more = blocks.pop()
            total, members = total + before, members + more
        blocks.append((total, members))
    bases = [total / members for total, members in blocks for _ in range(members)]
    return [base + offset for base, offset in zip(bases, offsets, strict=True)]


def _draw(
    columns: Links,
    lefts: list[int],
    centres: list[float],
    layer: list[int],
    count: int,
    chains: dict[int, list[int]],
    margin: int,
) -> tuple[list[tuple[int, int, int]], dict[int, list[tuple[int, int]]], int]:
    """Whole pixels from the top margin down."""
    top = min(centres, default=0.0) - NODE_HEIGHT / 2 - margin
    height = round(max(centres, default=0.0) + NODE_HEIGHT / 2 + MARGIN - top)
    nodes = [(0, 0, 0)] * count
    for level, column in enumerate(columns):
        rows = _rows(column)
        for place, node in enumerate(column):
            if node < count:
                left = lefts[level] + place // rows * (NODE_WIDTH + NODE_GAP)
                nodes[node] = (left, round(centres[node] - NODE_HEIGHT / 2 - top), level)
    routes = {
        position: [(lefts[layer[point]] + NODE_WIDTH // 2, round(centres[point] - top)) for point in chain]
        for position, chain in chains.items()
    }
    return nodes, routes, height
