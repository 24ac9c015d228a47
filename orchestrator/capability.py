"""Which models an instance can serve: its nodes and its weight files must cover the graph."""

from __future__ import annotations

from collections.abc import Container

from orchestrator.catalog import Catalog, Model
from orchestrator.catalog.checks import check_graph
from orchestrator.catalog.facts import NodeFacts
from orchestrator.catalog.model import EXAMPLE_IMAGE


class AnyFile:
    """A simulator takes any name for a weight file."""

    def __contains__(self, name: object) -> bool:
        return True


def served(catalog: Catalog, facts: NodeFacts, *, simulated: bool) -> frozenset[str]:
    """Ids of the models whose default graph the instance with these facts would accept. Pure; about half a
    millisecond per model."""
    files: Container[str] = AnyFile() if simulated else {EXAMPLE_IMAGE}
    return frozenset(model.id for model in catalog if not lacks(model, facts, files))


def lacks(model: Model, facts: NodeFacts, files: Container[str]) -> list[str]:
    """What keeps the instance from running the model, one line each."""
    graph = model.render(model.example(), filename_prefix="check")
    return [str(problem) for problem in check_graph(graph, facts, files) if not problem.harmless]
