"""Rules of the drawing: what a reader may rely on for any acyclic graph."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.graph_groups import groups_of
from app.services.graph_layout import FOLD_AT, LAYER_GAP, NODE_GAP, NODE_HEIGHT, NODE_WIDTH, layout
from tests.fixtures.growth import growth

Graph = tuple[int, list[tuple[int, int]]]


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    count = draw(st.integers(0, 40))
    pairs = st.tuples(st.integers(0, max(count - 1, 0)), st.integers(0, max(count - 1, 0)))
    edges = draw(st.lists(pairs, max_size=80, unique=True)) if count > 1 else []
    return count, [(low, high) for low, high in edges if low < high]


@given(graphs())
def test_a_step_stands_right_of_everything_that_it_waits_for(graph: Graph) -> None:
    nodes = layout(*graph).nodes
    for source, target in graph[1]:
        assert nodes[target][0] >= nodes[source][0] + NODE_WIDTH + LAYER_GAP


@given(graphs())
def test_no_two_boxes_overlap_and_all_lie_inside_the_drawing(graph: Graph) -> None:
    drawing = layout(*graph)
    boxes = sorted((left, top) for left, top, _ in drawing.nodes)
    for (left, top), (next_left, next_top) in itertools.pairwise(boxes):
        assert next_left >= left + NODE_WIDTH or next_top >= top + NODE_HEIGHT
    for left, top in boxes:
        assert left >= 0
        assert top >= 0
        assert left + NODE_WIDTH <= drawing.width
        assert top + NODE_HEIGHT <= drawing.height


@given(graphs())
def test_the_same_graph_is_drawn_the_same_twice(graph: Graph) -> None:
    assert layout(*graph) == layout(*graph)


def test_a_chain_is_a_straight_line() -> None:
    assert len({top for _, top, _ in layout(5, [(i, i + 1) for i in range(4)]).nodes}) == 1


def test_two_lanes_that_were_given_crossed_are_drawn_uncrossed() -> None:
    nodes = layout(4, [(0, 3), (1, 2)]).nodes
    assert (nodes[0][1] < nodes[1][1]) == (nodes[3][1] < nodes[2][1])


def test_an_edge_over_three_layers_is_led_around_the_steps_between() -> None:
    drawing = layout(4, [(0, 1), (1, 2), (2, 3), (0, 3)])
    (points,) = drawing.routes.values()
    assert len(points) == 2
    for x, y in points:
        assert not any(
            left <= x <= left + NODE_WIDTH and top - NODE_GAP // 4 < y < top + NODE_HEIGHT + NODE_GAP // 4
            for left, top, _ in drawing.nodes
        )


def test_a_very_wide_layer_is_folded_into_a_grid() -> None:
    drawing = layout(10_000, [(0, i) for i in range(1, 10_000)])
    assert drawing.height < 20 * drawing.width
    assert drawing.width < 20 * drawing.height
    assert len({(left, top) for left, top, _ in drawing.nodes}) == 10_000
    assert FOLD_AT < 10_000


def test_an_empty_workflow_has_an_empty_drawing() -> None:
    assert layout(0, []).nodes == []


def test_a_cycle_is_refused() -> None:
    with pytest.raises(ValueError, match="cycle"):
        layout(2, [(0, 1), (1, 0)])


def test_what_a_step_costs_to_lay_out_does_not_grow_with_their_number() -> None:
    def laying_out(steps: int) -> Callable[[], object]:
        edges = {(max(0, i - 1 - i * 7919 % 150), i) for i in range(1, steps)}
        edges |= {(i - 1, i) for i in range(1, steps, 3)}
        return lambda: layout(steps, sorted(edges))

    assert growth(laying_out, 1_000, 10_000) < 4


@st.composite
def grouped(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]], list[list[int]]]:
    count, edges = draw(graphs())
    paths = draw(st.lists(st.sampled_from(["x", "a/x", "a/b/x", "c/x"]), min_size=count, max_size=count))
    return count, edges, groups_of(paths)[1]


@given(grouped())
def test_a_frame_is_around_steps_of_its_group_and_no_others_and_each_step_is_in_one(
    graph: tuple[int, list[tuple[int, int]], list[list[int]]],
) -> None:
    count, edges, belongs = graph
    drawing = layout(count, edges, belongs)
    around: dict[tuple[int, int], int] = {}
    for left, top, width, height, group in drawing.frames:
        assert left >= 0
        assert top >= 0
        assert left + width <= drawing.width
        assert top + height <= drawing.height
        for node, (x, y, _) in enumerate(drawing.nodes):
            inside = left <= x and x + NODE_WIDTH <= left + width and top <= y and y + NODE_HEIGHT <= top + height
            apart = x >= left + width or x + NODE_WIDTH <= left or y >= top + height or y + NODE_HEIGHT <= top
            assert apart or (inside and group in belongs[node])
            if inside:
                around[node, group] = around.get((node, group), 0) + 1
    assert around == {(node, group): 1 for node, own in enumerate(belongs) for group in own}


def test_groups_are_the_workflows_in_a_path() -> None:
    names, belongs = groups_of(["load", "evaluate/score", "evaluate/inner/fit", "evaluate#2/score"])
    assert names == ["evaluate", "evaluate/inner", "evaluate#2"]
    assert belongs == [[], [0], [0, 1], [2]]


def test_a_graph_without_groups_has_no_frames_and_no_room_for_their_names() -> None:
    assert layout(2, [(0, 1)]).frames == []
    assert layout(2, [(0, 1)], [[], []]).nodes == layout(2, [(0, 1)]).nodes
