"""Which way results take for packs of other versions, and what operators are told."""

from __future__ import annotations

import copy
import logging
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from comfy_instances.protocol.delivery import FILES_CLASS, IMAGES_CLASS, PROTOCOL
from comfy_instances.session.session import InstanceSession
from orchestrator.execution.results.direct_delivery import DirectDelivery
from orchestrator.storage.object_store import ObjectStore, S3Config
from orchestrator.web.metrics.delivery import DeliveryMetrics
from tests.unit.execution.test_delivery_graphs import FACTS

#: Whether it can be reached must not matter for these.
NOWHERE = "http://127.0.0.1:9"


def facts_of(*versions: str) -> dict[str, Any]:
    facts = copy.deepcopy(FACTS)
    facts[IMAGES_CLASS]["input"]["required"]["protocol"] = [list(versions)]
    return facts


def without_pack(prefix: str) -> dict[str, Any]:
    return {name: entry for name, entry in FACTS.items() if not name.startswith(prefix)}


async def choose(facts: dict[str, Any] | None, *, enabled: bool = True) -> tuple[bool, str, str]:
    """Return whether the way is direct, what operators are told, and the name of the way."""
    metrics = DeliveryMetrics(CollectorRegistry())
    config = S3Config(endpoint=NOWHERE, access_key="a", secret_key="b" * 8, bucket="pack-versions")
    async with ObjectStore(config) as store:
        delivery = DirectDelivery(store, enabled=enabled, on_chosen=metrics.observe_event)
        way = await delivery.choose(InstanceSession(NOWHERE), "gpu-1", facts)
    name, detail = metrics.way_of("gpu-1")
    assert (detail or "") == way.reason
    return way.direct, way.reason, str(name)


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        (facts_of(str(PROTOCOL - 1)), "is older than this service"),
        (without_pack("PixelFactoryDeliver"), "is older than this service"),
        (facts_of(str(PROTOCOL + 1), str(PROTOCOL + 2)), "is newer than this service"),
    ],
)
async def test_a_pack_of_another_version_takes_the_old_way_and_operators_are_warned(
    facts: dict[str, Any], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        direct, reason, name = await choose(facts)
    assert (direct, name) == (False, "degraded")
    assert told in reason
    assert f"version {PROTOCOL} of deliveries" in reason
    assert "pixelfactory packs export-ours" in reason
    assert [record.levelname for record in caplog.records if "gpu-1" in record.message] == ["WARNING"]


@pytest.mark.parametrize("facts", [None, without_pack("PixelFactory")])
async def test_an_instance_without_the_pack_takes_the_old_way_and_no_one_is_warned(
    facts: dict[str, Any] | None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        direct, reason, name = await choose(facts)
    assert (direct, name) == (False, "service")
    assert "does not have the node pack" in reason
    assert not [record for record in caplog.records if "gpu-1" in record.message]


async def test_a_matching_pack_is_asked_whether_it_reaches_object_storage() -> None:
    assert FILES_CLASS in FACTS
    direct, reason, _ = await choose(FACTS)
    assert not direct
    assert "the instance does not respond" in reason
