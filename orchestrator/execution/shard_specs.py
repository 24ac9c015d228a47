"""Builds the scheduler's description of a shard from its model and the plan of its account."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.catalog import Model
from orchestrator.execution.scheduler import ShardSpec
from orchestrator.jobs import Job, Shard
from pricing.plans import Plan


def to_shard_spec(job: Job, shard: Shard, model: Model, deadline: float, plan: Plan) -> ShardSpec:
    """Return the description of a shard. `deadline` is in seconds of the scheduler's clock."""
    estimate = model.manifest.estimate_for(None)
    return ShardSpec(
        shard_id=shard.id,
        job_id=job.id,
        account_id=job.account_id,
        model=model.id,
        run_seconds=model.estimate_run_seconds(shard.params),
        load_seconds=estimate.load_seconds,
        vram=estimate.vram_bytes,
        fair_share_weight=plan.fair_share_weight,
        max_concurrency=plan.concurrency,
        tries=shard.tries,
        deaths=shard.deaths,
        deadline=deadline,
        version=model.digest,
        loras=frozenset(_shared_loras(shard, model)),
    )


def _shared_loras(shard: Shard, model: Model) -> Iterator[str]:
    """Return the LoRAs of the request that are files of the instance, except those of the model itself."""
    for parameter in model.lora_inputs:
        names = {item["name"] for item in shard.params.get(parameter) or () if "name" in item}
        yield from names - model.default_loras(parameter)
