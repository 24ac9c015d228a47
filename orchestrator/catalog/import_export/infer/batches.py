"""Finds fixed batches, which give several results for the price and the estimated time of one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from orchestrator.catalog.checks.node_facts import output_types
from orchestrator.catalog.import_export.infer.bindings import ParameterBindings
from orchestrator.catalog.import_export.infer.constants import InputRef

#: Inputs for the number of results. Those without classes are meant by their name where a node makes latents.
_COUNT_INPUT = "batch_size"
_COUNT_INPUT_BY_CLASS = {"RepeatLatentBatch": "amount", "RepeatImageBatch": "amount"}
_BATCH_TYPES = frozenset({"LATENT", "IMAGE"})
_VIDEO_KINDS = ("video", "i2v")


def list_batch_questions(bindings: ParameterBindings, kind: str, needed: Iterable[str]) -> Iterator[str]:
    """Yield a question for each node that an output needs and that fixes a number of results above 1.

    Frames of a video are a batch, too: of a model for videos, only nodes that also have a length count.
    """
    for id in needed:
        node = bindings.graph[id]
        name = _COUNT_INPUT_BY_CLASS.get(node["class_type"], _COUNT_INPUT)
        if not _BATCH_TYPES & set(output_types(bindings.node_facts(id))):
            continue
        if InputRef(id, name) in bindings.expressions:
            continue
        if kind in _VIDEO_KINDS and "length" not in node["inputs"]:
            continue
        found = bindings.trace_constant(id, name)
        count = found.value if found else None
        if isinstance(count, int | float) and count > 1:
            place = f"{name} of node {id} ({node['class_type']})"
            yield (
                f"whether each request makes a batch of {int(count)}: {place} is fixed, and price and time"
                " count one result; set it to 1, so that callers ask for more with n, or choose a price class"
                f" and a time per step for {int(count)} results"
            )
