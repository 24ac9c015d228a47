"""The LoRAs that an operator has put under `models/loras` of instances; all accounts may use them."""

from __future__ import annotations

from collections.abc import Iterator

from comfy_instances.fleet.protocol import Fleet
from orchestrator.catalog import Model
from orchestrator.execution.capabilities import CapabilityCache, InstanceCapabilities


class SharedLoras:
    """Reads from the capabilities of all instances which LoRAs they list."""

    def __init__(self, fleet: Fleet, capabilities: CapabilityCache) -> None:
        self._fleet = fleet
        self._capabilities = capabilities

    def names(self) -> list[str]:
        """Return the names of all shared LoRAs, sorted."""
        return sorted({name for one in self._known() for name in one.loras or ()})

    def names_by_instance(self, model: Model) -> list[frozenset[str]] | None:
        """Return what each instance lists that can run the model; None while no instance is known."""
        known = list(self._known())
        if not known:
            return None
        return [one.loras or frozenset() for one in known if not one.missing_requirements(model)]

    def _known(self) -> Iterator[InstanceCapabilities]:
        for info in self._fleet.instances():
            capabilities = self._capabilities.get(info.id)
            if capabilities.node_facts is not None:
                yield capabilities
