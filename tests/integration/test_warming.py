"""Models that are loaded ahead of requests, on simulated instances."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.api import (
    Instances,
    all_ready,
    submit_job,
    wait_for_instances,
    wait_for_job,
)
from tests.support.metrics import scrape
from tests.support.polling import poll
from tests.support.service import ServiceProcess, running

SMALL = {"model": "flux-1-schnell", "prompt": "a cat", "size": "256x256"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    environment = {
        "PIXELFACTORY_SIMULATOR_TIME_SCALE": "0.02",
        "PIXELFACTORY_WARM": "all",
        "PIXELFACTORY_WARM_IDLE_SECONDS": "0",
    }
    data = tmp_path_factory.mktemp("warming")
    with running(ServiceProcess(data, ("--simulate", "2"), environment)) as started:
        yield started


def holds(model: str, count: int) -> Any:
    def condition(instances: Instances) -> bool:
        return sum(model in row["models_held"] for row in instances.values()) >= count

    return condition


async def warm(service: ServiceProcess, model: str, **body: str) -> tuple[int, dict[str, Any]]:
    async with (
        service.client(service.admin_token) as http,
        http.post(f"/admin/v1/models/{model}/warm", json=body) as response,
    ):
        return response.status, await response.json()


async def test_an_operator_loads_a_model_which_no_account_pays_for(service: ServiceProcess) -> None:
    await wait_for_instances(service, all_ready)
    status, row = await warm(service, "sdxl-1.0", instance="sim-0")
    assert (status, row["instances"]) == (202, ["sim-0"]), row
    instances = await wait_for_instances(service, holds("sdxl-1.0", 1))
    assert "sdxl-1.0" in instances["sim-0"]["models_held"]
    await wait_for_instances(service, none_loads)
    assert (await scrape(service)).value(
        "pixelfactory_warm_runs_total", model="sdxl-1.0", result="loaded"
    ) == 1
    assert service.audit() == []
    metrics = await scrape(service)
    for name in ("captured_usd_total", "gpu_seconds_total", "stored_bytes_total"):
        assert metrics.value(f"pixelfactory_{name}") == 0, "a warm run is no job"


async def test_idle_instances_load_what_was_asked_for_also_after_a_restart(service: ServiceProcess) -> None:
    async with service.client(service.key("5.00")) as http:
        await wait_for_job(http, await submit_job(http, SMALL), "completed")
    await wait_for_instances(service, holds("flux-1-schnell", 1))
    service.kill()
    service.start()
    service.wait_ready()
    await wait_for_instances(service, holds("flux-1-schnell", 1))
    found = (await scrape(service)).value(
        "pixelfactory_warm_runs_total", model="flux-1-schnell", result="loaded"
    )
    assert found >= 1, "by the history in the store"


async def test_what_cannot_be_loaded_is_refused_with_its_reason(service: ServiceProcess) -> None:
    for model, body, status, words in (
        ("nothing", {}, 404, "nothing"),
        ("sdxl-1.0", {"instance": "sim-9"}, 404, "there is no instance 'sim-9'"),
        ("sd-1.5-lora-trainer", {}, 409, "loads its weights in each run"),
        ("wan2.2-animate", {}, 409, "needs a video"),
    ):
        found, answer = await warm(service, model, **body)
        assert (found, words in str(answer)) == (status, True), answer


def all_load_or_hold(model: str) -> Callable[[Instances], bool]:
    """Return whether every instance is loading the model ahead of requests, or has loaded it."""
    return lambda found: all(model in (row["warming"], *row["models_held"]) for row in found.values())


def all_hold_something(found: Instances) -> bool:
    """Return whether every instance holds a model, so that none is loaded by history any more."""
    return all(row["models_held"] for row in found.values())


def none_loads(found: Instances) -> bool:
    """Return whether no instance loads a model ahead of requests."""
    return not any(row["warming"] for row in found.values())


async def test_a_request_interrupts_a_load(service: ServiceProcess) -> None:
    """A long load ahead on both instances; the request does not wait for their ends."""
    # By the history of requests, both may still load what was asked for.
    await wait_for_instances(service, lambda rows: none_loads(rows) and all_hold_something(rows))
    status, row = await warm(service, "wan2.1-t2v-pro")
    assert (status, sorted(row["instances"])) == (202, ["sim-0", "sim-1"])
    await wait_for_instances(service, all_load_or_hold("wan2.1-t2v-pro"))
    async with service.client(service.key("5.00")) as http:
        await wait_for_job(http, await submit_job(http, SMALL), "completed")
    metrics = await poll(
        lambda: scrape(service),
        lambda found: found.value("pixelfactory_warm_runs_total", model="wan2.1-t2v-pro") >= 2,
    )
    assert metrics.value("pixelfactory_warm_runs_total", model="wan2.1-t2v-pro", result="failed") == 0
