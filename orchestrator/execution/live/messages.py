"""The messages between API processes and the scheduler, as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from comfy_instances.fleet.protocol import InstanceInfo
from orchestrator.catalog.checks.graph_checks import GraphProblem
from orchestrator.execution.instances.capacity import Capacity
from orchestrator.execution.scheduler.wait_estimator import WaitEstimate
from orchestrator.jobs.events import ShardPreview, ShardProgress, ShardStarted

#: Largest message, in bytes: previews are images, and a fleet may have many instances.
MAX_MESSAGE_BYTES = 32 * 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class InstanceSnapshot:
    """What API processes know of an instance."""

    info: InstanceInfo
    #: Names of the LoRAs that it lists; None while unknown.
    loras: frozenset[str] | None = None
    #: Ids of the models that it can run.
    models: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class FleetSnapshot:
    """What API processes know of the fleet."""

    instances: tuple[InstanceSnapshot, ...] = ()
    #: Whether an instance is available, or returns shortly by itself.
    expects_instance: bool = False
    #: Ids of the models that one of these can run.
    expected_models: frozenset[str] = field(default=frozenset())


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_bytes="base64", val_json_bytes="base64")


class FleetMessage(_Message):
    """The fleet has changed."""

    type: Literal["fleet"] = "fleet"
    fleet: FleetSnapshot


class ShardMessage(_Message):
    """Something happened to a shard that is not stored. Previews are base64."""

    type: Literal["shard"] = "shard"
    job_id: str
    started: ShardStarted | None = None
    progress: ShardProgress | None = None
    preview: ShardPreview | None = None


class JobChangedMessage(_Message):
    """The state of a job changed; the change is in the store."""

    type: Literal["job_changed"] = "job_changed"
    job_id: str


class WaitMessage(_Message):
    """The waiting time of a job, sent again when it changes; None for a job that does not wait or run."""

    type: Literal["wait"] = "wait"
    job_id: str
    estimate: WaitEstimate | None


SchedulerMessage = Annotated[
    FleetMessage | ShardMessage | JobChangedMessage | WaitMessage, Field(discriminator="type")
]


class CallersMessage(_Message):
    """The jobs that concern the callers of an API process; replaces what an earlier message said."""

    type: Literal["callers"] = "callers"
    #: Jobs whose events are wanted.
    followed: frozenset[str]
    #: Those of them whose previews are shown; None from processes of a version that shows all.
    previewed: frozenset[str] | None = None
    #: Those of them whose waiting time is wanted: it takes a look at the whole queue.
    estimated: frozenset[str] = frozenset()
    #: Jobs whose result a connection waits for, and nothing else brings it.
    awaited: frozenset[str]


class CapacityRequest(_Message):
    """Asks how soon a new job of an account could start."""

    account_id: str
    model: str


class CapacityResponse(_Message):
    """Answers a CapacityRequest."""

    capacity: Capacity


class LoraArchitectures(_Message):
    """The base architectures that shared LoRAs fit, by name."""

    architectures: Mapping[str, tuple[str, ...]]


class LoraNames(_Message):
    """Names of shared LoRAs."""

    names: tuple[str, ...]


SCHEDULER_MESSAGES: TypeAdapter[SchedulerMessage] = TypeAdapter(SchedulerMessage)


class GraphQuestion(_Message):
    """Asks why no instance can run a caller's graph."""

    graph: dict[str, Any]
    outputs: tuple[str, ...]


class GraphProblems(_Message):
    """Answers a GraphQuestion; empty if an instance can run the graph, or if that is not known."""

    problems: tuple[GraphProblem, ...] = ()


class KnownClasses(_Message):
    """The node facts of an instance that is ready, by class; None if there is none."""

    classes: dict[str, Any] | None = None
