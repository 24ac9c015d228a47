"""What the fleet and the agents on the nodes tell each other. Pure; all of it travels as JSON."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Self

from comfy_instances.fleet.protocol import InstanceState
from comfy_instances.hardware.gpus import GpuStats

#: Path of the agent's own routes, which ComfyUI does not have.
AGENT_PATH = "/pixelfactory-agent"
STATUS_PATH, RESTART_PATH = f"{AGENT_PATH}/status", f"{AGENT_PATH}/restart"
FAILURE_PATH, LOG_PATH = f"{AGENT_PATH}/failure", f"{AGENT_PATH}/log"
FILES_PATH, WEIGHTS_PATH = f"{AGENT_PATH}/delete-files", f"{AGENT_PATH}/weights"


def code_version() -> str:
    """Return the version of this package; `unknown` for a source tree that is not installed."""
    try:
        return version("pixel-factory")
    except PackageNotFoundError:
        return "unknown"


def new_token() -> str:
    """Return a secret for one process of an agent."""
    return secrets.token_urlsafe(32)


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentOptions:
    """How an agent runs its instance. Ray keeps them with the actor and uses them at each of its starts."""

    #: Name of the actor and id of the instance.
    name: str
    namespace: str
    #: Directory on the node that gets a folder per instance.
    base_dir: str
    #: Directories on the node.
    comfyui_dir: str = ""
    models_dir: str = ""
    #: Run a simulator instead of ComfyUI.
    simulate: bool = False
    time_scale: float = 0.0
    startup_seconds: float = 120.0
    #: Whether the instance starts only after the fleet has sent the list of weights and they are on the disk.
    needs_weights: bool = False
    #: `module:function` that pulls weights (see `agent.PullWeights`).
    weight_puller: str = ""
    #: Version of the service that created the actor.
    created_by: str = field(default_factory=code_version)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read options, also of a version that had other fields."""
        return cls(**_known_fields(cls, json.loads(text)))


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentReport:
    """Where an agent is, as Ray returns it from a call of the actor."""

    name: str
    #: Id of the agent's process; another one after each restart.
    incarnation: str
    #: `http://ADDRESS:PORT` of its proxy; empty while it is not listening yet.
    url: str
    token: str = field(repr=False)
    node_id: str
    #: Version of the service that created the actor, and of the code on its node.
    created_by: str = ""
    code_version: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """Read a report, also of a version that has other fields. Raises TypeError if one is missing."""
        return cls(**_known_fields(cls, row))


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentStatus:
    """What an agent knows about its instance. Sizes are bytes."""

    incarnation: str
    state: InstanceState
    detail: str | None = None
    code_version: str = ""
    simulated: bool = False
    device: str = "unknown"
    version: str | None = None
    vram_total: int | None = None
    vram_free: int | None = None
    restarts: int = 0
    failures: int = 0
    supervision_errors: int = 0
    started_at: datetime | None = None
    memory: int | None = None
    profile: str | None = None
    gpu: GpuStats | None = None
    #: Sizes of the weight files that are complete on the node, by path below the models directory.
    weights: Mapping[str, int] = field(default_factory=dict)
    #: Whether the agent waits for the list of weights.
    wants_weights: bool = False
    #: When its process is started again, or what prevents the start is looked at again; None while one runs.
    retry_at: datetime | None = None

    def to_json(self) -> dict[str, Any]:
        times = {"started_at": self.started_at, "retry_at": self.retry_at}
        dates = {name: time.isoformat() if time else None for name, time in times.items()}
        return {**asdict(self), **dates, "state": self.state.value}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """Read a status. Raises ValueError, TypeError, KeyError."""
        known = _known_fields(cls, row)
        known["state"] = InstanceState(row["state"])
        for name in ("started_at", "retry_at"):
            known[name] = datetime.fromisoformat(row[name]) if row.get(name) else None
        gpu = row.get("gpu")
        known["gpu"] = GpuStats(**{one.name: gpu.get(one.name) for one in fields(GpuStats)}) if gpu else None
        return cls(**known)


@dataclass(frozen=True, kw_only=True, slots=True)
class RayNode:
    """A living node of the cluster."""

    id: str
    address: str
    #: Number of its GPUs.
    gpus: int
    #: Name of its card, as Ray's resource `accelerator_type:NAME` says; None without one.
    card: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterState:
    """What Ray says: living nodes, names of our actors, and the reports of those that answered."""

    nodes: tuple[RayNode, ...]
    actors: tuple[str, ...]
    reports: Mapping[str, AgentReport]


def _known_fields(kind: type[Any], row: Mapping[str, Any]) -> dict[str, Any]:
    names = {one.name for one in fields(kind)}
    return {name: value for name, value in row.items() if name in names}
