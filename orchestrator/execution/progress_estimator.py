"""How much of a run is done, as one number that only grows.

Sampling takes nearly all of a run's time, and nothing tells beforehand how long the other nodes take: the
samplers share most of the number, all other nodes the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: What the samplers of a graph have together, where there are any.
SAMPLING_SHARE = 0.9
#: By these inputs a sampler, or a trainer, is known: what it works on, and how it goes about it.
_LATENT_INPUTS, _SCHEDULE_INPUTS = (
    frozenset({"latent_image", "samples", "latents"}),
    frozenset({"steps", "sigmas"}),
)


class ProgressEstimator:
    """Listens to one run of one graph."""

    def __init__(self, graph: Mapping[str, Mapping[str, Any]]) -> None:
        """`graph` in ComfyUI's API format."""
        samplers = {id for id, node in graph.items() if _is_sampler(node["inputs"])}
        shares = (
            (SAMPLING_SHARE, 1 - SAMPLING_SHARE) if samplers and len(samplers) < len(graph) else (1.0, 1.0)
        )
        counts = (len(samplers), len(graph) - len(samplers))
        self._shares = {id: shares[id not in samplers] / counts[id not in samplers] for id in graph}
        self._node: str | None = None
        #: Sum of the shares of the nodes that are done.
        self._completed_share = 0.0
        self._fraction = 0.0

    def start_node(self, node_id: str) -> float:
        """A node begins, so the one before it is done. The fraction of the whole, 0 to 1."""
        self._completed_share += self._shares.pop(self._node, 0.0) if self._node is not None else 0.0
        self._node = node_id
        return self._advance_to(self._completed_share)

    def update_node(self, node_id: str, value: float, maximum: float) -> float:
        """So many steps of a node are done."""
        part = min(max(value / maximum, 0.0), 1.0) if maximum > 0 else 0.0
        return self._advance_to(self._completed_share + part * self._shares.get(node_id, 0.0))

    def _advance_to(self, fraction: float) -> float:
        self._fraction = min(max(self._fraction, fraction), 1.0)
        return self._fraction


def _is_sampler(inputs: Mapping[str, Any]) -> bool:
    return not _LATENT_INPUTS.isdisjoint(inputs) and not _SCHEDULE_INPUTS.isdisjoint(inputs)
