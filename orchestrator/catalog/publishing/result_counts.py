"""Compares the results that callers pay for with those that a run makes."""

from __future__ import annotations

from orchestrator.catalog.checks.node_facts import NodeFacts
from orchestrator.catalog.import_export.infer.batches import count_results, find_batches
from orchestrator.catalog.import_export.infer.bindings import ParameterBindings
from orchestrator.catalog.model import Model

#: Field of a manifest: the results of each run, all of which are charged.
BATCH = "batch"


def count_graph_results(model: Model, facts: NodeFacts) -> int:
    """Return how many results a default request makes, as far as nodes with a number of results say.

    Raises CatalogError.
    """
    graph = model.render_graph(model.example_params(), filename_prefix="example", cut=False)
    outputs = [output.node for output in model.outputs]
    batches = find_batches(ParameterBindings(graph, facts), model.kind.value, outputs)
    return count_results(batches) * len(model.outputs)


def describe_unmade_results(model: Model, facts: NodeFacts, made: int | None = None) -> str:
    """Return why callers must not pay for as many results as `batch` says; empty if they may.

    `made` are the results of a test run of this version. Without one, the nodes say how many there are: nodes
    that join or make images in another way are proven by a test run. Raises CatalogError.
    """
    batch = model.manifest.batch
    count = count_graph_results(model, facts) if made is None and batch > 1 else made
    if count is None or batch <= count:
        return ""
    results = f"{count} result{'' if count == 1 else 's'}"
    allowed = f"at most {count}, since callers pay for {batch} as it is"
    if made is not None:
        return f"{allowed}: a test run of this version made {results}"
    return (
        f"{allowed}: the graph makes {results}, as far as its nodes say. If a run makes more, test this"
        f" version first: `test_run` of POST /admin/v1/models, or POST /admin/v1/models/{model.id}/test"
    )
