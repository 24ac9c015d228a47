"""Says why no instance can run the version of a model that a job waits for."""

from __future__ import annotations

from collections.abc import Sequence

from comfy_instances.fleet.protocol import Fleet, InstanceState
from orchestrator.catalog.live_catalog import LiveCatalog
from orchestrator.catalog.model import Model
from orchestrator.execution.capabilities import CapabilityCache
from orchestrator.execution.failures import FAILURE_MESSAGES, to_job_error
from orchestrator.jobs import FailureKind, JobError

#: Lines of what an instance lacks that an error has.
_SHOWN_LACKS = 5


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
