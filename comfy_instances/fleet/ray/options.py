"""The options of a Ray fleet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from comfy_instances.fleet.inventory import FILE_REFRESH_SECONDS
from comfy_instances.fleet.ray.demand import CapacityLimits
from comfy_instances.fleet.ray.values import AgentOptions


class WantedWeights(Protocol):
    """Says what nodes should have."""

    async def list_files(self, profile: str | None) -> Sequence[Mapping[str, Any]]:
        """Return the weight files for a GPU profile, as the weight puller of an agent reads them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RayFleetOptions:
    """How a Ray fleet places and watches its instances. Durations are seconds."""

    #: Options of every agent; the name is replaced.
    agent: AgentOptions
    #: File of this service with the agents and tokens that it used last.
    state_file: Path
    limits: CapacityLimits = field(default_factory=CapacityLimits)
    #: Follow the demand and tell Ray's autoscaler; otherwise every GPU of the cluster gets an instance.
    autoscale: bool = False
    #: Between two looks at the cluster.
    control_seconds: float = 2.0
    #: How long the start waits for the first look.
    discovery_seconds: float = 45.0
    #: How long an instance is idle before it is ended: its last outputs are fetched in this time.
    settle_seconds: float = 10.0
    pending_seconds: float = 60.0
    probe_seconds: float = 5.0
    poll_seconds: float = 0.5
    file_refresh_seconds: float = FILE_REFRESH_SECONDS
