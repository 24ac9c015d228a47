"""The LoRAs that an operator has put under `models/loras` of instances; all accounts may use them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from comfy_instances.fleet.protocol import Fleet
from comfy_instances.protocol.errors import InstanceError
from orchestrator.catalog import Model
from orchestrator.catalog.lora_metadata import architectures_of_lora
from orchestrator.execution.instances.capabilities import CapabilityCache, InstanceCapabilities

#: How long a request waits for the headers of files. What is read later is known to the next request.
_READ_SECONDS = 3.0
#: Headers that are read at a time.
_READS_AT_A_TIME = 8


@dataclass(frozen=True, slots=True)
class _Header:
    """The architectures that a file fits by its header."""

    architectures: tuple[str, ...]
    #: Those of the instance that was asked, which change with its files.
    capabilities: InstanceCapabilities


class SharedLoras:
    """Reads from the capabilities of all instances which LoRAs they list, and from files what they fit."""

    def __init__(self, fleet: Fleet, capabilities: CapabilityCache) -> None:
        self._fleet = fleet
        self._capabilities = capabilities
        self._headers: dict[str, _Header] = {}

    def names(self) -> list[str]:
        """Return the names of all shared LoRAs, sorted."""
        return sorted({name for _, one in self._known() for name in one.loras or ()})

    def names_by_instance(self, model: Model) -> list[frozenset[str]] | None:
        """Return what each instance lists that can run the model; None while no instance is known."""
        known = [one for _, one in self._known()]
        if not known:
            return None
        return [one.loras or frozenset() for one in known if not one.missing_requirements(model)]

    async def read_architectures(self, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Return the base architectures that each LoRA fits by the header of its file, the likeliest first.

        The tuple is empty for a file whose header tells none, or that could not be read in time.
        """
        sources = {name: source for name in names if (source := self._find_source(name))}
        unread = [name for name, (_, current) in sources.items() if not self._is_read(name, current)]
        reading = asyncio.Semaphore(_READS_AT_A_TIME)

        async def read(name: str) -> None:
            async with reading:
                await self._read_header(name, *sources[name])

        with suppress(TimeoutError):
            async with asyncio.timeout(_READ_SECONDS):
                await asyncio.gather(*map(read, unread))
        return {name: self._headers[name].architectures if name in self._headers else () for name in sources}

    async def _read_header(self, name: str, instance_id: str, current: InstanceCapabilities) -> None:
        # An instance that does not answer, or not with metadata, tells nothing.
        with suppress(InstanceError, ValueError):
            metadata = await self._fleet.session(instance_id).get_lora_metadata(name)
            self._headers[name] = _Header(architectures_of_lora(metadata), current)

    def _is_read(self, name: str, current: InstanceCapabilities) -> bool:
        return name in self._headers and self._headers[name].capabilities is current

    def _find_source(self, name: str) -> tuple[str, InstanceCapabilities] | None:
        """Return an instance that lists the LoRA, and its capabilities."""
        return next((known for known in self._known() if name in (known[1].loras or ())), None)

    def _known(self) -> Iterator[tuple[str, InstanceCapabilities]]:
        for info in self._fleet.instances():
            capabilities = self._capabilities.get(info.id)
            if capabilities.node_facts is not None:
                yield info.id, capabilities
