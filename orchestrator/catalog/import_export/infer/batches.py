"""Finds fixed batches: each request makes and pays several results."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from orchestrator.catalog.checks.node_facts import output_types
from orchestrator.catalog.import_export.infer.bindings import ParameterBindings
from orchestrator.catalog.import_export.infer.constants import InputRef
from orchestrator.catalog.manifest import MAX_BATCH
from orchestrator.catalog.rendering.graph import find_upstream_nodes

#: Inputs for the number of results. Those without classes are meant by their name where a node makes latents.
_COUNT_INPUT = "batch_size"
_COUNT_INPUT_BY_CLASS = {"RepeatLatentBatch": "amount", "RepeatImageBatch": "amount"}
#: Names of inputs that may fix a number of results.
BATCH_INPUTS = frozenset({_COUNT_INPUT, *_COUNT_INPUT_BY_CLASS.values()})
#: Classes that take a part out of a batch: the inputs for its first result, and for the number of results.
_RANGE = ("batch_index", "length")
_PICKER_INPUTS = {
    **dict.fromkeys(("ImageFromBatch", "LatentFromBatch"), _RANGE),
    **dict.fromkeys(("ImageFromBatch+", "LatentFromBatch+"), ("start", "length")),
    "GetImageRangeFromBatch": ("start_index", "num_frames"),
}
_BATCH_TYPES = frozenset({"LATENT", "IMAGE"})
_VIDEO_KINDS = ("video", "i2v")


@dataclass(frozen=True, slots=True)
class FixedBatch:
    """An input that makes each run give several results."""

    node: str
    input: str
    class_type: str
    count: int


def find_batches(bindings: ParameterBindings, kind: str, outputs: Collection[str]) -> list[FixedBatch]:
    """Return the nodes that an output needs and that fix a number of results above 1.

    Frames of a video are a batch, too: of a model for videos, only nodes that also have a length count. What
    a node takes out of a batch is all that counts of it.
    """
    pickers = {} if kind in _VIDEO_KINDS else _find_pickers(bindings)
    rest = {id: {} if id in pickers else node for id, node in bindings.graph.items()}
    visible = find_upstream_nodes(rest, outputs)
    # A picker makes no more than all sources together, wherever they are.
    given = count_results(_find_sources(bindings, kind, find_upstream_nodes(bindings.graph, outputs)))
    found = _find_sources(bindings, kind, visible - pickers.keys())
    for id in visible & pickers.keys():
        first, length = pickers[id]
        count = min(length, given - first)
        if count > 1:
            found.append(
                FixedBatch(
                    id,
                    _PICKER_INPUTS[bindings.graph[id]["class_type"]][1],
                    bindings.graph[id]["class_type"],
                    count,
                )
            )
    return sorted(found, key=lambda batch: batch.node)


def _find_pickers(bindings: ParameterBindings) -> dict[str, tuple[int, int]]:
    """Return the nodes that take a fixed part out of a batch: its first result, and how many."""
    found = {}
    for id, node in bindings.graph.items():
        names = _PICKER_INPUTS.get(node["class_type"], ())
        values = [constant.value for name in names if (constant := bindings.trace_constant(id, name))]
        if len(values) == len(_RANGE) and all(isinstance(value, int) for value in values):
            found[id] = (max(0, values[0]), values[1])
    return found


def _find_sources(bindings: ParameterBindings, kind: str, needed: Iterable[str]) -> list[FixedBatch]:
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
            " set it to 1, so that callers ask for more with n. Whether a later node drops or joins results"
            " is not known before a test run, which counts them"
        )


def list_output_questions(outputs: Sequence[str], batch: int) -> Iterator[str]:
    """Yield a question if several nodes save results."""
    if len(outputs) > 1:
        yield (
            f"how many results callers pay for: {len(outputs)} nodes save some ({', '.join(outputs)[:100]}),"
            f" and `batch` of the manifest is {batch}"
        )
