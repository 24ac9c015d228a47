"""Instances that cannot deliver results themselves: the results are the same, and operators see why."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.support.api import all_ready, submit_job, wait_for_instances, wait_for_job
from tests.support.comfyui_server import simulator
from tests.support.metrics import scrape
from tests.support.polling import poll
from tests.support.service import ServiceProcess, running


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """On an instance with a pack of before deliveries, and one that does not reach the S3 server."""
    with ExitStack() as stack:
        servers = [
            stack.enter_context(simulator(tmp_path_factory.mktemp("old"), "--no-delivery")),
            stack.enter_context(simulator(tmp_path_factory.mktemp("far"))),
        ]
        addresses = ",".join(server.url for server in servers)
        nowhere = {"PIXELFACTORY_S3_INSTANCE_ENDPOINT": "http://127.0.0.1:9"}
        data = tmp_path_factory.mktemp("service")
        process = ServiceProcess(data, ("--instances", addresses), nowhere)
        yield stack.enter_context(running(process))


async def test_results_pass_through_the_service_and_operators_see_why(service: ServiceProcess) -> None:
    await wait_for_instances(service, all_ready)
    async with service.client(service.key("100.00")) as http:

        async def ways() -> dict[str, Any]:
            """Run jobs until both instances have run one."""
            job = await submit_job(
                http, {"model": "flux-1-schnell", "prompt": "a", "n": 4, "size": "256x256"}
            )
            shown = await wait_for_job(http, job)
            assert shown["status"] == "completed", shown
            found = await wait_for_instances(service, lambda _: True)
            return {name: row["delivery_detail"] for name, row in found.items()}

        reasons = await poll(ways, lambda found: None not in found.values())
    older, far = sorted(reasons.values(), key=lambda text: "S3" in text)
    assert "older than this service" in older
    assert "does not reach the S3 server" in far
    assert "s3_instance_endpoint" in far
    shown = await wait_for_instances(service, lambda _: True)
    assert {row["delivery"] for row in shown.values()} == {"degraded"}
    metrics = await scrape(service, service.admin_token)
    for name in shown:
        degraded = {"instance_id": name, "way": "degraded"}
        assert metrics.value("pixelfactory_instance_delivery", **degraded) == 1
    assert service.log.count("results pass through this service") == len(shown)
