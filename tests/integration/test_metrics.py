"""What Prometheus gets: every name that is documented, dashboarded or alerted on, and true numbers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from comfy_instances.process.child import find_free_port
from tests.support.api import all_ready, submit_job, wait_for_instances, wait_for_job
from tests.support.deploy_files import (
    DEPLOY,
    UP,
    asked,
    documented,
    documented_of_the_process,
    expressions,
    rules,
)
from tests.support.deployment import find_tool
from tests.support.metrics import Scrape, scrape
from tests.support.paused_instances import paused_instances
from tests.support.polling import poll
from tests.support.service import ServiceProcess, running

PATH = "/api/v1/images/generations"
SMALL = {"prompt": "a cat", "size": "512x512"}
#: What only a machine with a GPU can tell.
OF_GPUS = {f"pixelfactory_gpu_{name}" for name in ("utilisation_ratio", "temperature_celsius", "power_watts")}
WAIT_SECONDS = 60


@dataclass(frozen=True)
class LoadReport:
    """What was asked of a service, and what it said before, while and after it worked."""

    before: Scrape
    meanwhile: Scrape
    after: Scrape
    #: Bytes of all outputs of succeeded jobs.
    stored: int
    #: Dollars in the wallet at the end.
    left: float
    #: Models in the memory of each instance at the end, as the admin API counts them.
    models_held: dict[str, int]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    environment = {"PIXELFACTORY_SIMULATOR_TIME_SCALE": "0.2"}
    data = tmp_path_factory.mktemp("metrics")
    with running(ServiceProcess(data, ("--simulate", "2"), environment)) as started:
        yield started


@pytest.fixture(scope="module")
def load(service: ServiceProcess) -> LoadReport:
    return asyncio.run(_load(service))


async def _load(service: ServiceProcess) -> LoadReport:
    """Ten jobs that succeed, one of them on its second try; one that is cancelled, one that fails."""
    urls = await _ready(service)
    async with service.client(service.key("10.00")) as http:
        before = await scrape(service)
        await _break(urls[:1], "crash", 1)
        with paused_instances(service):
            jobs = [await _submit(http, "flux-1-schnell", n=2, seed=seed) for seed in range(6)]
            jobs += [await _submit(http, "sdxl-1.0", seed=seed) for seed in range(4)]
            given_up = await _submit(http, "flux-1-dev", steps=50)
            for _ in range(2):
                async with http.delete(f"/api/v1/jobs/{given_up}") as response:
                    assert (await response.json())["status"] == "cancelled"
            meanwhile = await poll(lambda: scrape(service), _gives_each_instance_two_shards)
        done = [await wait_for_job(http, job) for job in jobs]
        assert {view["status"] for view in done} == {"completed"}
        stored = [await _size(url) for view in done for url in view["output"]["images"]]
        await _load_ahead(service)
        await _break(await _ready(service), "node_error", 10)
        assert (await wait_for_job(http, await _submit(http, "flux-1-schnell")))["status"] == "failed"
        async with http.get("/api/v1/billing/balance") as response:
            left = (await response.json())["balance_usd"]
        instances = await wait_for_instances(service, all_ready)
        held = {instance_id: len(row["models_held"]) for instance_id, row in instances.items()}
        after = await poll(lambda: scrape(service), _knows_margins)
        return LoadReport(before, meanwhile, after, sum(stored), left, held)


def _knows_margins(now: Scrape) -> bool:
    """Whether the figures of the day, which are read at intervals, have all models."""
    models = ("flux-1-schnell", "sdxl-1.0")
    return all(now.value("pixelfactory_day_revenue_usd", model=model) > 0 for model in models)


async def _load_ahead(service: ServiceProcess) -> None:
    """Have an instance load a model that no request has asked for."""
    url = "/admin/v1/models/sd-1.5/warm"
    async with service.client(service.admin_token) as http, http.post(url, json={}) as response:
        assert response.status == 202, await response.text()
    await poll(
        lambda: scrape(service),
        lambda now: now.value("pixelfactory_warm_runs_total", result="loaded") >= 1,
    )


async def _ready(service: ServiceProcess) -> list[str]:
    """URLs of the instances, once all are ready."""
    instances = await wait_for_instances(service, all_ready)
    return [row["url"] for row in instances.values()]


async def _break(instances: list[str], kind: str, count: int) -> None:
    async with aiohttp.ClientSession() as http:
        for url in instances:
            async with http.post(f"{url}/simulator/faults", json={"kind": kind, "count": count}) as response:
                assert response.status == 200


def _gives_each_instance_two_shards(now: Scrape) -> bool:
    return all(
        now.value("pixelfactory_instance_shards", instance_id=name) == 2 for name in ("sim-0", "sim-1")
    )


async def _submit(http: aiohttp.ClientSession, model: str, **more: Any) -> str:
    return await submit_job(http, {**SMALL, "model": model, **more})


async def _size(url: str) -> int:
    async with aiohttp.request("GET", url) as response:
        return len(await response.read())


def test_exports_exactly_the_documented_metrics(load: LoadReport) -> None:
    rows, families = documented(), load.after.families
    ours = {name for name in families if name.startswith("pixelfactory_")}
    assert ours == set(rows)
    for name in ours:
        assert (families[name].type, families[name].documentation) == (rows[name].type, rows[name].meaning)
    assert documented_of_the_process() == set(families) - ours


def test_metrics_have_the_documented_labels(load: LoadReport) -> None:
    found = load.after.labels() | load.meanwhile.labels()
    for row in documented().values():
        series = f"{row.name}_count" if row.type == "histogram" else row.name
        if row.name not in OF_GPUS:
            assert found[series] == row.labels, series


def test_metrics_have_values_after_load(load: LoadReport) -> None:
    found = load.after.labels() | load.meanwhile.labels()
    for expression in expressions():
        for one in asked(expression):
            if one.name not in OF_GPUS | {UP}:
                # Prometheus adds the job by itself.
                assert one.labels - {"le", "job"} <= found[one.name], expression


def test_counts_each_job_once(load: LoadReport) -> None:
    after = load.after
    assert after.value("pixelfactory_jobs_finished_total", status="succeeded") == 10
    assert after.value("pixelfactory_jobs_finished_total", model="flux-1-schnell", status="succeeded") == 6
    assert after.value("pixelfactory_jobs_finished_total", status="cancelled") == 1
    assert after.value("pixelfactory_jobs_finished_total", status="failed") == 1
    # The fault is in the first node that runs, which may be another one on an instance with other results
    # in its cache: then it is another error.
    codes = ("node_failed", "node_failed_repeatedly")
    model = "flux-1-schnell"
    assert sum(after.value("pixelfactory_job_errors_total", model=model, code=code) for code in codes) == 1
    assert after.value("pixelfactory_jobs_unfinished") == 0


def test_money_metrics_match_the_wallet(load: LoadReport) -> None:
    captured = load.after.value("pixelfactory_captured_usd_total")
    assert captured == pytest.approx(10.0 - load.left, abs=1e-9)
    assert captured > 0
    assert load.after.value("pixelfactory_released_usd_total") > 0
    assert load.meanwhile.value("pixelfactory_held_usd") == pytest.approx(captured, abs=1e-9)
    assert load.after.value("pixelfactory_held_usd") == 0


def test_stored_bytes_match_the_files(load: LoadReport) -> None:
    assert load.after.value("pixelfactory_stored_bytes_total") == load.stored > 0


def test_runs_are_counted_and_timed(load: LoadReport) -> None:
    after = load.after
    for name in ("run", "wait"):
        assert after.value(f"pixelfactory_{name}_seconds_count", model="flux-1-schnell") == 12
        assert after.value(f"pixelfactory_{name}_seconds_count", model="sdxl-1.0") == 4
    assert after.value("pixelfactory_run_seconds_sum") == pytest.approx(
        after.value("pixelfactory_gpu_seconds_total")
    )
    loads = after.value("pixelfactory_load_seconds_count")
    assert 2 <= loads < 16, "both models were loaded, and not for each run"
    gaps = after.value("pixelfactory_idle_gap_seconds_count")
    assert 0 < gaps < 16


def test_failures_are_counted_by_instance(load: LoadReport) -> None:
    after = load.after
    assert after.value("pixelfactory_attempt_failures_total", kind="node_failed") == 4
    assert after.value("pixelfactory_attempt_failures_total", instance_id="sim-0", kind="instance_gone") >= 1
    assert after.value("pixelfactory_retries_total") >= 4
    assert after.value("pixelfactory_instance_restarts_total", instance_id="sim-0") == 1
    assert after.value("pixelfactory_instance_restarts_total", instance_id="sim-1") == 0


def test_queue_metrics_show_waiting_shards(load: LoadReport) -> None:
    assert load.meanwhile.value("pixelfactory_shards_waiting") > 0
    assert load.meanwhile.value("pixelfactory_oldest_wait_seconds") > 0
    assert load.meanwhile.value("pixelfactory_jobs_unfinished") == 10
    assert load.meanwhile.value("pixelfactory_instance_shards", instance_id="sim-1") == 2
    assert load.after.value("pixelfactory_shards_waiting") == 0


def test_each_instance_is_in_exactly_one_state(load: LoadReport) -> None:
    for instance_id in ("sim-0", "sim-1"):
        assert load.after.value("pixelfactory_instance_state", instance_id=instance_id) == 1
        assert load.after.value("pixelfactory_instance_info", instance_id=instance_id) == 1
        assert 0 < load.after.value("pixelfactory_instance_busy_ratio", instance_id=instance_id) <= 1
        held = load.after.value("pixelfactory_instance_models_held", instance_id=instance_id)
        assert held == load.models_held[instance_id]
        used = load.after.value("pixelfactory_instance_vram_used_bytes", instance_id=instance_id)
        assert 0 < used < load.after.value("pixelfactory_instance_vram_total_bytes", instance_id=instance_id)
    # The instance that crashed may have been away until all jobs were done.
    assert sum(load.models_held.values()) >= 1


def test_counters_never_decrease(load: LoadReport) -> None:
    for name, family in load.before.families.items():
        for sample in family.samples if family.type == "counter" else ():
            assert load.after.value(sample.name, **sample.labels) >= sample.value, name


def test_margins_of_the_day_are_those_of_the_books(load: LoadReport) -> None:
    charged = 10 - load.left
    assert load.after.value("pixelfactory_day_revenue_usd") == pytest.approx(charged)
    assert load.after.value("pixelfactory_day_cost_usd") > 0
    assert load.after.value("pixelfactory_ledger_violations") == 0
    assert load.after.value("pixelfactory_disk_free_bytes") > 0


async def test_prometheus_reads_a_service_and_evaluates_every_rule(
    service: ServiceProcess, load: LoadReport, tmp_path: Path
) -> None:
    prometheus = find_tool("prometheus")
    if prometheus is None:
        pytest.skip("needs prometheus: apt install prometheus")
    config = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(DEPLOY / "alerts.yml")]
    (job,) = config["scrape_configs"]
    job["static_configs"] = [{"targets": [service.url.removeprefix("http://")]}]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = find_free_port()
    command = [prometheus, f"--config.file={tmp_path / 'prometheus.yml'}", f"--storage.tsdb.path={tmp_path}"]
    with (tmp_path / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command, f"--web.listen-address=127.0.0.1:{port}", stdout=log, stderr=log
        )
        try:
            found = await poll(lambda: _ask_prometheus(port, "rules"), _has_evaluated)
            targets = await poll(
                lambda: _ask_prometheus(port, "targets"),
                lambda answer: [one["health"] for one in answer["activeTargets"]] == ["up"],
            )
        finally:
            process.terminate()
            await process.wait()
    evaluated = found["groups"][0]["rules"]
    assert [(one["name"], one.get("lastError")) for one in evaluated if one["health"] != "ok"] == []
    assert {one["name"] for one in evaluated} == {rule["alert"] for rule in rules()}
    assert targets["activeTargets"][0]["lastError"] == ""
    firing = {one["name"] for one in evaluated if one["state"] == "firing"}
    assert firing.isdisjoint(
        {"OutOfMemory", "LedgerViolated", "JobsStuck", "NegativeMargin", "DatabaseLogLarge"}
    )


async def _ask_prometheus(port: int, path: str) -> Any:
    """What Prometheus answers; nothing while it starts."""
    with suppress(aiohttp.ClientError):
        async with aiohttp.request("GET", f"http://127.0.0.1:{port}/api/v1/{path}") as response:
            return (await response.json())["data"] if response.status == 200 else {}
    return {}


def _has_evaluated(found: Any) -> bool:
    return bool(found.get("groups")) and all(
        one["health"] != "unknown" for one in found["groups"][0]["rules"]
    )
