"""What the instances of this process say of callers' own graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from comfy_instances.fleet.protocol import Fleet, InstanceState
from orchestrator.catalog.checks.graph_checks import GraphProblem
from orchestrator.execution.instances.capabilities import CapabilityCache
from orchestrator.own_graphs.model import OwnGraphModel


@dataclass(frozen=True, slots=True)
class FleetGraphs:
    """Asks the capabilities of a fleet."""

    fleet: Fleet
    capabilities: CapabilityCache

    async def find_problems(self, model: OwnGraphModel) -> Sequence[GraphProblem]:
        """Return why no ready instance can run a graph: what the nearest one lacks; nothing if one can."""
        found = []
        for info in self.fleet.instances():
            capabilities = self.capabilities.get(info.id)
            if info.state is InstanceState.READY and capabilities.node_facts is not None:
                found.append(capabilities.find_problems(model))
        return min(found, key=len, default=[])

    async def node_facts(self) -> Mapping[str, Any] | None:
        """Return the node facts of an instance that is ready; None if there is none."""
        for info in self.fleet.instances():
            facts = self.capabilities.get(info.id).node_facts
            if info.state is InstanceState.READY and facts is not None:
                return facts
        return None
