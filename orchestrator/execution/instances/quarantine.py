"""Describes a shard that is not run again, with the graph under which instances died."""

from __future__ import annotations

import logging
from datetime import datetime

from orchestrator.catalog import Model
from orchestrator.catalog.rendering.graph import ApiGraph
from orchestrator.execution.active_shards import ActiveShard
from orchestrator.execution.instances.capabilities import CapabilityCache
from orchestrator.jobs import Shard
from orchestrator.jobs.quarantine import QuarantinedShard

log = logging.getLogger(__name__)

#: Prefix of output file names in the kept graph.
QUARANTINE_FILENAME_PREFIX = "quarantine"


def describe_quarantined_shard(
    active: ActiveShard, capabilities: CapabilityCache, instance_id: str, now: datetime
) -> QuarantinedShard:
    """Return the shard with its graph as it was rendered for the instance that died last.

    Input files are named by their object keys.
    """
    job, shard, model = active.job, active.shard, active.model
    return QuarantinedShard(
        shard_id=shard.id,
        job_id=job.id,
        account_id=job.account_id,
        model=model.id,
        model_digest=model.digest,
        graph=_render_graph(shard, model, capabilities, instance_id),
        quarantined_at=now,
    )


def _render_graph(
    shard: Shard, model: Model, capabilities: CapabilityCache, instance_id: str
) -> ApiGraph | None:
    try:
        return capabilities.get(instance_id).render_graph(model, shard.params, QUARANTINE_FILENAME_PREFIX)
    except Exception:
        # The quarantine must not depend on the graph: an unquarantined shard runs again.
        log.exception("the graph of quarantined shard %s cannot be rendered", shard.id)
        return None
