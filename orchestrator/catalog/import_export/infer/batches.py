"""Finds fixed batches: each request makes and pays several results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from orchestrator.catalog.checks.node_facts import output_types
from orchestrator.catalog.import_export.infer.bindings import ParameterBindings
from orchestrator.catalog.import_export.infer.constants import InputRef
from orchestrator.catalog.manifest import MAX_BATCH

#: Inputs for the number of results. Those without classes are meant by their name where a node makes latents.
_COUNT_INPUT = "batch_size"
_COUNT_INPUT_BY_CLASS = {"RepeatLatentBatch": "amount", "RepeatImageBatch": "amount"}
#: Names of inputs that may fix a number of results.
BATCH_INPUTS = frozenset({_COUNT_INPUT, *_COUNT_INPUT_BY_CLASS.values()})
_BATCH_TYPES = frozenset({"LATENT", "IMAGE"})
_VIDEO_KINDS = ("video", "i2v")


@dataclass(frozen=True, slots=True)
class FixedBatch:
    """An input that makes each run give several results."""

    node: str
    input: str
    class_type: str
    count: int


def find_batches(bindings: ParameterBindings, kind: str, needed: Iterable[str]) -> list[FixedBatch]:
    """Return the nodes that an output needs and that fix a number of results above 1.

    Frames of a video are a batch, too: of a model for videos, only nodes that also have a length count.
    """
    found = []
    for id in needed:
        node = bindings.graph[id]
        name = _COUNT_INPUT_BY_CLASS.get(node["class_type"], _COUNT_INPUT)
        if not _BATCH_TYPES & set(output_types(bindings.node_facts(id))):
            continue
        if InputRef(id, name) in bindings.expressions:
            continue
        if kind in _VIDEO_KINDS and "length" not in node["inputs"]:
            continue
        constant = bindings.trace_constant(id, name)
        count = constant.value if constant else None
        if isinstance(count, int | float) and count > 1:
            found.append(FixedBatch(id, name, node["class_type"], int(count)))
    return found


def count_results(batches: Iterable[FixedBatch]) -> int:
    """Return how many results a run makes: the largest batch, times each repetition."""
    made = repeated = 1
    for batch in batches:
        if batch.class_type in _COUNT_INPUT_BY_CLASS:
            repeated *= batch.count
        else:
            made = max(made, batch.count)
    return min(made * repeated, MAX_BATCH)


def list_batch_questions(batches: Iterable[FixedBatch]) -> Iterator[str]:
    """Yield a question for each batch."""
    for batch in batches:
        yield (
            f"whether each request makes a batch of {batch.count}: {batch.input} of node {batch.node}"
            f" ({batch.class_type}) is fixed, so callers pay for all results (`batch` of the manifest);"
            " set it to 1, so that callers ask for more with n"
        )


def list_output_questions(outputs: Sequence[str], batch: int) -> Iterator[str]:
    """Yield a question if several nodes save results."""
    if len(outputs) > 1:
        yield (
            f"how many results callers pay for: {len(outputs)} nodes save some ({', '.join(outputs)[:100]}),"
            f" and `batch` of the manifest is {batch}"
        )
