"""Spans of attempts: what waited, ran, encoded and stored, and for how long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import time

from comfy_instances.protocol.delivery import DeliveredFile, DeliveryState
from orchestrator.jobs import Attempt, Job, Usage
from orchestrator.tracing import Attributes, record_span, span


def describe_attempt(attempt: Attempt) -> Attributes:
    """Return the attributes of an attempt's span."""
    return {
        "pixelfactory.shard.id": attempt.shard_id,
        "pixelfactory.attempt.number": attempt.number,
        "pixelfactory.instance.id": attempt.instance_id,
        "pixelfactory.prompt.id": attempt.prompt_id,
    }


@contextmanager
def attempt_span(attempt: Attempt, job: Job) -> Iterator[None]:
    """Record the block as an attempt, and the time for which its shard has waited if it is the first."""
    started = attempt.started_at.timestamp()
    if attempt.number == 1:
        shard = {"pixelfactory.shard.id": attempt.shard_id}
        record_span("wait", job.created_at.timestamp(), started, shard)
    with span("attempt", describe_attempt(attempt)):
        yield


def record_run(sent_at: float, usage: Usage) -> None:
    """Record a run that has just ended: what it waited behind on the instance, its loads, and the rest.

    Loads are recorded as one span at the beginning, where nearly all of them are.
    """
    ended = time()
    started = max(sent_at, ended - usage.gpu_seconds)
    loaded = min(ended, started + usage.load_seconds)
    record_span("queue", sent_at, started)
    if usage.load_seconds > 0:
        record_span("load", started, loaded)
    device: Attributes = {"pixelfactory.device": usage.device} if usage.device else {}
    record_span("run", loaded, ended, {**device, "pixelfactory.simulated": usage.simulated})


def record_delivery(file: DeliveredFile) -> None:
    """Record what an instance has measured of a result that it has delivered just now."""
    ended, attributes = time(), Attributes({"pixelfactory.direct": True})
    uploaded = file.timings.get("upload", 0.0) if file.state is DeliveryState.STORED else 0.0
    encoded = file.timings.get("encode", 0.0)
    if encoded:
        record_span("encode", ended - uploaded - encoded, ended - uploaded, attributes)
    if uploaded:
        size: Attributes = {"pixelfactory.bytes": file.size, "pixelfactory.content_type": file.content_type}
        record_span("put", ended - uploaded, ended, attributes | size)
