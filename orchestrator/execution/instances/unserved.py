"""Says why no instance can run the version of a model that a job waits for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from comfy_instances.fleet.protocol import Fleet, InstanceState
from orchestrator.catalog.live_catalog import LiveCatalog
from orchestrator.catalog.model import Model
from orchestrator.execution.active_shards import ActiveShard
from orchestrator.execution.failures import FAILURE_MESSAGES, to_job_error
from orchestrator.execution.instances.capabilities import CapabilityCache
from orchestrator.execution.scheduler import Scheduler
from orchestrator.jobs import FailureKind, JobError

#: Lines of what an instance lacks that an error has.
_SHOWN_LACKS = 5


def is_settled(fleet: Fleet) -> bool:
    """Whether the fleet has instances that are ready, and none that may become so by itself."""
    states = {info.state for info in fleet.instances()}
    return InstanceState.READY in states and not states - {InstanceState.READY, InstanceState.FAILED}


def find_superseded(
    shards: Iterable[ActiveShard], catalog: LiveCatalog, scheduler: Scheduler
) -> list[ActiveShard]:
    """Return the waiting shards of old versions and drafts of models which no instance can run."""
    by_version: dict[str, bool] = {}  # thousands of shards may wait for few models

    def is_superseded(model: Model) -> bool:
        if model.digest not in by_version:
            is_outdated = catalog.is_outdated(model)
            by_version[model.digest] = is_outdated and not scheduler.can_serve(model.digest)
        return by_version[model.digest]

    return [one for one in shards if is_superseded(one.model) and one.shard.id in scheduler.queue]


def explain_unserved(
    model: Model, catalog: LiveCatalog, fleet: Fleet, capabilities: CapabilityCache
) -> JobError:
    """Return the error of a job whose model, in its version, no instance can run."""
    if model.is_own_graph:
        return to_job_error(FailureKind.GRAPH_UNSERVED)
    if not catalog.is_draft(model):
        return to_job_error(FailureKind.SUPERSEDED)
    ready = (info.id for info in fleet.instances() if info.state is InstanceState.READY)
    lacks = (capabilities.get(id).missing_requirements(model) for id in ready)
    return _draft_error(min(lacks, key=len, default=[]))


def _draft_error(lacks: Sequence[str]) -> JobError:
    """Return the error of a draft; `lacks` says what the instance lacks that comes nearest."""
    shown = "; ".join(lacks[:_SHOWN_LACKS]) + ("; ..." if len(lacks) > _SHOWN_LACKS else "")
    kind = FailureKind.DRAFT_UNSERVED
    message = FAILURE_MESSAGES[kind] + (f" An instance lacks: {shown}" if shown else "")
    return JobError(code=kind.value, message=message)
