"""Estimates the progress of a run as one fraction that never decreases.

Sampling takes most of the time of a run, and the duration of the other nodes is unknown beforehand: the
samplers share most of the fraction equally, all other nodes the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Share of all samplers together, in a graph that has samplers.
SAMPLING_SHARE = 0.9
#: A node with an input of each kind is a sampler or a trainer.
_LATENT_INPUTS, _SCHEDULE_INPUTS = (
    frozenset({"latent_image", "samples", "latents"}),
    frozenset({"steps", "sigmas"}),
)


class ProgressEstimator:
    """Estimates the progress of one run from its events."""

    def __init__(self, graph: Mapping[str, Mapping[str, Any]]) -> None:
        """`graph` is in ComfyUI's API format."""
        samplers = {id for id, node in graph.items() if _is_sampler(node["inputs"])}
        shares = (
            (SAMPLING_SHARE, 1 - SAMPLING_SHARE) if samplers and len(samplers) < len(graph) else (1.0, 1.0)
        )
        counts = (len(samplers), len(graph) - len(samplers))
        self._shares = {id: shares[id not in samplers] / counts[id not in samplers] for id in graph}
        self._node: str | None = None
        #: Sum of the shares of the finished nodes.
        self._completed_share = 0.0
        self._fraction = 0.0
        #: Number of nodes that have finished.
        self.nodes_done = 0

    def start_node(self, node_id: str) -> float:
        """Record that a node started and the previous one is finished; return the fraction, 0 to 1."""
        self._completed_share += self._shares.pop(self._node, 0.0) if self._node is not None else 0.0
        self.nodes_done += self._node not in (None, node_id)
        self._node = node_id
        return self._advance_to(self._completed_share)

    def update_node(self, node_id: str, value: float, maximum: float) -> float:
        """Record that `value` of `maximum` steps of a node are done; return the fraction, 0 to 1."""
        part = min(max(value / maximum, 0.0), 1.0) if maximum > 0 else 0.0
        return self._advance_to(self._completed_share + part * self._shares.get(node_id, 0.0))

    def _advance_to(self, fraction: float) -> float:
        self._fraction = min(max(self._fraction, fraction), 1.0)
        return self._fraction


def _is_sampler(inputs: Mapping[str, Any]) -> bool:
    return not _LATENT_INPUTS.isdisjoint(inputs) and not _SCHEDULE_INPUTS.isdisjoint(inputs)
