"""What an API process knows of the scheduler's fleet."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic

import pytest

from comfy_instances.fleet.protocol import InstanceInfo, InstanceState
from orchestrator.catalog import Catalog, Model
from orchestrator.execution.live.messages import (
    SCHEDULER_MESSAGES,
    FleetMessage,
    FleetSnapshot,
    InstanceSnapshot,
    ShardMessage,
    WaitMessage,
)
from orchestrator.execution.live.mirror import FleetMirror
from orchestrator.execution.scheduler.wait_estimator import WaitEstimate
from orchestrator.jobs.events import ShardPreview, ShardProgress, ShardStarted
from orchestrator.settings import SHIPPED_WORKFLOWS_DIR


@pytest.fixture(scope="module")
def model() -> Model:
    return Catalog.load(SHIPPED_WORKFLOWS_DIR)["sdxl-1.0"]


def instance(id: str) -> InstanceInfo:
    return InstanceInfo(
        id=id, url="http://x", state=InstanceState.READY, simulated=True, device="simulated", adopted=True
    )


def snapshot(model: Model) -> FleetSnapshot:
    serving = InstanceSnapshot(
        info=instance("a"), loras=frozenset({"ink", "line"}), models=frozenset({model.id})
    )
    other = InstanceSnapshot(info=instance("b"), loras=frozenset({"ink"}))
    unknown = InstanceSnapshot(info=instance("c"))
    return FleetSnapshot(
        instances=(serving, other, unknown), expects_instance=True, expected_models=frozenset({model.id})
    )


async def read_nothing(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    return dict.fromkeys(names, ("sdxl",))


async def test_knows_instances_models_and_loras_once_reported(model: Model) -> None:
    mirror = FleetMirror(read_nothing)
    assert mirror.instances() == []
    assert not mirror.expects_instance(monotonic())
    assert mirror.names_by_instance(model) is None
    mirror.update(snapshot(model))
    assert [info.id for info in mirror.instances()] == ["a", "b", "c"]
    assert mirror.expects_instance(monotonic())
    assert mirror.expects_to_serve(model.id)
    assert not mirror.expects_to_serve("no-such")
    assert mirror.names() == ["ink", "line"]
    assert mirror.names_by_instance(model) == [frozenset({"ink", "line"})]
    assert await mirror.read_architectures(["ink", "unknown"]) == {"ink": ("sdxl",)}


def test_a_lost_connection_leaves_what_was_known_for_a_while(model: Model) -> None:
    mirror = FleetMirror(read_nothing)
    mirror.update(snapshot(model))
    mirror.set_estimate("job", WaitEstimate(shards_ahead=0, seconds=3.0))
    mirror.mark_disconnected()
    assert mirror.expects_to_serve(model.id)
    assert mirror.estimate_job_wait("job", monotonic()) is None


def test_waiting_times_are_kept_for_followed_jobs_only() -> None:
    mirror = FleetMirror(read_nothing)
    estimate = WaitEstimate(shards_ahead=2, seconds=None)
    for job in ("one", "two", "three"):
        mirror.set_estimate(job, estimate)
    mirror.set_estimate("three", None)
    mirror.keep_estimates(frozenset({"one", "three"}))
    found = [mirror.estimate_job_wait(job, monotonic()) for job in ("one", "two", "three")]
    assert found == [estimate, None, None]


@pytest.mark.parametrize(
    "message",
    [
        ShardMessage(job_id="j", started=ShardStarted(index=1, shard_id="j-1", instance_id="a", attempt=2)),
        ShardMessage(
            job_id="j",
            progress=ShardProgress(index=0, node_id="sampler", value=3, maximum=20, fraction=0.15),
        ),
        ShardMessage(
            job_id="j",
            preview=ShardPreview(index=0, content_type="image/jpeg", data=bytes(range(256))),
        ),
        WaitMessage(job_id="j", estimate=WaitEstimate(shards_ahead=None, seconds=1.5)),
        WaitMessage(job_id="j", estimate=None),
    ],
)
def test_messages_arrive_as_they_were_sent(message: ShardMessage | WaitMessage) -> None:
    assert SCHEDULER_MESSAGES.validate_json(message.model_dump_json()) == message


def test_the_fleet_arrives_as_it_was_sent(model: Model) -> None:
    message = FleetMessage(fleet=snapshot(model))
    assert SCHEDULER_MESSAGES.validate_json(message.model_dump_json()) == message


def test_fields_of_a_later_version_are_ignored() -> None:
    """API processes and schedulers are upgraded one after the other."""
    text = '{"type": "wait", "job_id": "j", "estimate": null, "later": 1}'
    assert SCHEDULER_MESSAGES.validate_json(text) == WaitMessage(job_id="j", estimate=None)
