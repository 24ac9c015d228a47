"""Lay out the nodes of a graph on the canvas, in columns by their distance from the sources."""

from __future__ import annotations

from collections.abc import Mapping
from graphlib import TopologicalSorter
from typing import Any

from orchestrator.catalog.rendering.graph import iter_links

_COLUMN_WIDTH, _NODE_GAP, _TITLE_HEIGHT, _LINE_HEIGHT = 380, 40, 60, 26


def layout_nodes(graph: Mapping[str, Mapping[str, Any]]) -> dict[str, list[int]]:
    """Return the upper left corner of every node, `[x, y]` in pixels. The graph must have no cycle."""
    sources = {id: {link.node for _, link in iter_links(node["inputs"])} for id, node in graph.items()}
    column: dict[str, int] = {}
    for id in TopologicalSorter(sources).static_order():
        column[id] = max((column[source] + 1 for source in sources[id]), default=0)
    # Place a loader just left of the first node that uses it.
    for id in graph:
        users = [column[user] for user, needed in sources.items() if id in needed]
        if not sources[id] and users:
            column[id] = min(users) - 1
    heights: dict[int, int] = {}
    places = {}
    for id, node in graph.items():
        x = column[id]
        places[id] = [x * _COLUMN_WIDTH, heights.get(x, 0)]
        heights[x] = heights.get(x, 0) + _TITLE_HEIGHT + _NODE_GAP + _LINE_HEIGHT * (len(node["inputs"]) + 1)
    return places
