"""What operators see of jobs, failures, models, the queue and the fleet, and the log of what they change."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from tests.support.api import submit_job, wait_for_instances, wait_for_job
from tests.support.polling import poll
from tests.support.service import ServiceProcess, running

FAST = {"model": "flux-1-schnell", "prompt": "a secret fox", "size": "256x256"}
SLOW = {"model": "flux-1-dev", "prompt": "a cat", "size": "1024x1024", "steps": 50}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    environment = {"PIXELFACTORY_SIMULATOR_TIME_SCALE": "0.2", "SIMULATOR_MARKED_FAULTS": "1"}
    data = tmp_path_factory.mktemp("operator_api")
    with running(ServiceProcess(data, ("--simulate", "2"), environment)) as started:
        yield started


async def ask(service: ServiceProcess, path: str, **query: Any) -> Any:
    async with (
        service.client(service.admin_token) as http,
        http.get(f"/admin/v1/{path}", params=query) as response,
    ):
        assert response.status == 200, await response.text()
        return await response.json()


async def tell(service: ServiceProcess, path: str, status: int = 200, **body: Any) -> Any:
    headers = {"X-Operator": "alice"}
    async with (
        service.client(service.admin_token) as http,
        http.post(f"/admin/v1/{path}", json=body, headers=headers) as response,
    ):
        assert response.status == status, await response.text()
        return await response.json()


async def new_key(service: ServiceProcess, name: str = "backend", credit: float = 5) -> Any:
    return await tell(service, "keys", 201, name=name, credit_usd=credit)


async def run(service: ServiceProcess, key: str, **more: Any) -> dict[str, Any]:
    """A finished job."""
    async with service.client(key) as http:
        return await wait_for_job(http, await submit_job(http, {**FAST, **more}))


async def test_lists_jobs_of_all_accounts_without_prompts(service: ServiceProcess) -> None:
    one, other = await new_key(service, "one"), await new_key(service, "other")
    first = await run(service, one["key"])
    second = await run(service, other["key"], n=2)
    failed = await run(service, one["key"], prompt="a dog [fault:out_of_memory]")
    assert failed["status"] == "failed"

    async def ids(**query: Any) -> list[str]:
        return [row["id"] for row in (await ask(service, "jobs", **query))["jobs"]]

    page = await ask(service, "jobs", limit=1)
    assert [row["id"] for row in page["jobs"]] == [failed["jobId"]]
    assert "fox" not in json.dumps(await ask(service, "jobs"))
    assert await ids(limit=1, cursor=page["next_cursor"]) == [second["jobId"]]
    assert await ids(account=one["account"]) == [failed["jobId"], first["jobId"]]
    assert await ids(key=other["id"]) == [second["jobId"]]
    assert (await ids(status="failed"))[0] == failed["jobId"]
    (row,) = (await ask(service, "jobs", key=other["id"]))["jobs"]
    assert (row["key_name"], row["shards"], row["shards_done"], row["attempts"]) == ("other", 2, 2, 2)
    assert (row["charged_usd"], row["price_usd"]) == (second["costUsd"], second["costUsd"])
    code = (await ask(service, "jobs", status="failed", limit=1))["jobs"][0]["error_code"]
    assert (await ids(error=code))[0] == failed["jobId"]
    assert await ids(error=code, account=other["account"]) == []
    instance = (await ask(service, f"jobs/{first['jobId']}"))["parts"][0]["attempts"][0]["instance"]
    assert first["jobId"] in await ids(instance=instance)
    assert await ids(instance="gpu-99") == []
    (row,) = (await ask(service, "jobs", account=one["account"], status="succeeded"))["jobs"]
    assert row["instances"] == [instance]


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("jobs", {"status": "broken"}),
        ("jobs", {"cursor": "job_none"}),
        ("jobs", {"account": "a\x00b"}),
        ("jobs", {"colour": "red"}),
        ("failures", {"cursor": "yesterday"}),
        ("failures", {"cursor": "2026-01-01T00:00:00~x"}),
        ("events", {"cursor": "x"}),
        ("instances/sim-0/log", {"since": "noon"}),
    ],
)
async def test_rejects_filters_that_it_does_not_know(
    service: ServiceProcess, path: str, query: dict[str, str]
) -> None:
    async with (
        service.client(service.admin_token) as http,
        http.get(f"/admin/v1/{path}", params=query) as response,
    ):
        error = (await response.json())["error"]
    assert (response.status, error["param"]) == (400, next(iter(query)))


@pytest.mark.parametrize("path", ["jobs", "jobs/job_x", "failures", "events", "fleet", "fleet/live", "queue"])
async def test_callers_see_nothing_of_it(service: ServiceProcess, path: str) -> None:
    async with service.client(service.key()) as http, http.get(f"/admin/v1/{path}") as response:
        assert response.status == 401


async def test_a_job_shows_what_happened_to_it(service: ServiceProcess) -> None:
    key = await new_key(service)
    job = await run(service, key["key"], n=2, seed=7)
    shown = await ask(service, f"jobs/{job['jobId']}")
    assert (shown["status"], shown["parameters"]["prompt"]) == ("succeeded", FAST["prompt"])
    assert [part["seed"] for part in shown["parts"]] == [7, 8]
    for part in shown["parts"]:
        (attempt,) = part["attempts"]
        times = [attempt[name] for name in ("started_at", "run_started_at", "run_ended_at", "ended_at")]
        assert times == sorted(times)
        spans = [attempt[f"{name}_seconds"] for name in ("wait", "prepare", "load", "run", "store")]
        assert all(seconds is not None and seconds >= 0 for seconds in spans)
        assert (attempt["outcome"], attempt["reason"]) == ("ok", "Succeeded.")
    assert shown["margin"]["revenue_usd"] == job["costUsd"] > 0
    assert (shown["can_cancel"], shown["can_retry"], shown["can_refund"]) == (False, False, True)
    assert key["key"] not in json.dumps(shown)


async def test_a_failed_attempt_says_why_in_words(service: ServiceProcess) -> None:
    job = await run(service, (await new_key(service))["key"], prompt="a dog [fault:out_of_memory]")
    shown = await ask(service, f"jobs/{job['jobId']}")
    attempt = shown["parts"][0]["attempts"][0]
    assert attempt["reason"].endswith(".")
    assert attempt["outcome"] not in attempt["reason"]
    assert attempt["detail"]
    assert (attempt["run_started_at"], attempt["run_seconds"]) == (None, None)
    failures = (await ask(service, "failures"))["failures"]
    mine = [row for row in failures if row["job"] == job["jobId"]]
    assert {(row["kind"], row["job_status"]) for row in mine} == {(attempt["outcome"], "failed")}
    first = await ask(service, "failures", limit=1)
    second = await ask(service, "failures", limit=1, cursor=first["next_cursor"])
    assert [first["failures"][0], second["failures"][0]] == failures[:2]


async def test_the_graph_of_a_job_can_be_downloaded(service: ServiceProcess) -> None:
    job = await run(service, (await new_key(service))["key"], n=2, seed=41)
    async with (
        service.client(service.admin_token) as http,
        http.get(f"/admin/v1/jobs/{job['jobId']}/graph", params={"shard": "1"}) as response,
    ):
        graph = await response.json()
        assert f"{job['jobId']}-1.json" in response.headers["Content-Disposition"]
    assert all({"class_type", "inputs"} <= node.keys() for node in graph.values())
    assert FAST["prompt"] in json.dumps(graph)
    seeds = [node["inputs"].get("noise_seed", node["inputs"].get("seed")) for node in graph.values()]
    assert 42 in seeds
    async with (
        service.client(service.admin_token) as http,
        http.get(f"/admin/v1/jobs/{job['jobId']}/graph", params={"shard": "2"}) as response,
    ):
        assert response.status == 404


async def test_the_log_of_an_instance_around_a_run(service: ServiceProcess) -> None:
    job = await run(service, (await new_key(service))["key"])
    (part,) = (await ask(service, f"jobs/{job['jobId']}"))["parts"]
    attempt = part["attempts"][0]
    period = {"since": attempt["started_at"], "until": attempt["ended_at"]}
    path = f"/admin/v1/instances/{attempt['instance']}/log"
    async with service.client(service.admin_token) as http, http.get(path, params=period) as response:
        lines = (await response.text()).splitlines()
    assert lines
    assert all(line[2] == line[5] == ":" for line in lines)
    early = {"since": "2020-01-01T00:00:00Z", "until": "2020-01-02T00:00:00Z"}
    async with service.client(service.admin_token) as http, http.get(path, params=early) as response:
        assert await response.text() == ""


async def test_an_operator_retries_a_failed_job_and_refunds_the_new_one(service: ServiceProcess) -> None:
    key = await new_key(service)
    async with service.client(key["key"]) as http:
        job = await submit_job(http, {**SLOW, "seed": 3})
        cancelled = await tell(service, f"jobs/{job}/cancel")
        assert cancelled["status"] == "cancelled"
        assert cancelled["can_retry"]
        repeated = await tell(service, f"jobs/{job}/retry", 201)
        assert repeated["id"] != job
        assert (repeated["account"], repeated["parameters"]) == (key["account"], cancelled["parameters"])
        done = await wait_for_job(http, repeated["id"])
        assert (done["status"], done["params"]["seed"]) == ("completed", 3)
        refunded = await tell(service, f"jobs/{repeated['id']}/refund", usd=done["costUsd"])
        assert refunded["balance_usd"] == 5
    error = (await tell(service, f"jobs/{repeated['id']}/retry", 409))["error"]
    assert "succeeded" in error["message"]
    events = (await ask(service, "events", action="jobs"))["events"]
    assert [(one["action"], one["subject"]) for one in events[:3]] == [
        ("jobs.refund", repeated["id"]),
        ("jobs.retry", job),
        ("jobs.cancel", job),
    ]


async def test_records_who_changed_what_and_no_secrets(service: ServiceProcess) -> None:
    key = await new_key(service, "recorded")
    await tell(service, f"keys/{key['id']}/revoke")
    await tell(service, f"wallets/{key['account']}/credit", usd=3, reference="invoice 9")
    await tell(service, "instances/sim-0/restart")
    await tell(service, "instances/sim-77/drain", 404)
    service.run("keys", "create", "--account", key["account"], "--name", "by command")
    await wait_for_instances(service, lambda found: all(one["state"] == "ready" for one in found.values()))
    found = (await ask(service, "events", limit=5))["events"]
    assert [(one["action"], one["subject"]) for one in found[1:]] == [
        ("instances.restart", "sim-0"),
        ("wallets.credit", key["account"]),
        ("keys.revoke", key["id"]),
        ("keys.create", key["id"]),
    ]
    assert {one["actor"] for one in found[1:]} == {"operator (alice)"}
    assert found[2]["detail"] == {"usd": "3", "reference": "invoice 9"}
    assert (found[0]["action"], found[0]["detail"]["name"]) == ("keys.create", "by command")
    assert "command line" in found[0]["actor"]
    assert key["key"] not in json.dumps(found)
    assert [one["action"] for one in (await ask(service, "events", subject=key["id"]))["events"]] == [
        "keys.revoke",
        "keys.create",
    ]


async def read_events(response: aiohttp.ClientResponse, count: int) -> list[tuple[str, Any]]:
    """The next events of a stream."""
    events: list[tuple[str, Any]] = []
    name = ""
    async for raw in response.content:
        line = raw.decode().rstrip()
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        if line.startswith("data: "):
            events.append((name, json.loads(line.removeprefix("data: "))))
            if len(events) == count:
                return events
    raise AssertionError(f"the stream has ended after {events}")


async def test_the_fleet_is_followed_drained_and_resumed_as_a_whole(service: ServiceProcess) -> None:
    await wait_for_instances(service, lambda found: all(one["state"] == "ready" for one in found.values()))
    async with (
        service.client(service.admin_token) as http,
        http.get("/admin/v1/fleet/live") as response,
    ):
        ((name, fleet),) = await read_events(response, 1)
        assert (name, fleet["summary"]["by_state"]) == ("fleet", {"ready": 2})
        assert all(len(one["history"]) == 60 for one in fleet["instances"])
        drained = await tell(service, "fleet/drain")
        assert drained == {"instances": ["sim-0", "sim-1"], "refused": {}}
        states: dict[str, str] = {}
        while set(states.values()) != {"drained"}:
            ((name, change),) = await read_events(response, 1)
            assert name == "changed"
            states |= {one["id"]: one["state"] for one in change["instances"]}
        assert (await tell(service, "fleet/drain"))["instances"] == []
        assert (await tell(service, "fleet/resume"))["instances"] == ["sim-0", "sim-1"]
    await wait_for_instances(service, lambda found: all(one["state"] == "ready" for one in found.values()))


async def test_shows_what_runs_and_what_waits(service: ServiceProcess) -> None:
    key = await new_key(service, "busy")
    async with service.client(key["key"]) as http:
        jobs = [await submit_job(http, {**SLOW, "n": 4}) for _ in range(4)]

        async def queue() -> Any:
            return await ask(service, "queue")

        found = await poll(queue, lambda one: one["waiting"] >= 4)
        assert found["by_model"] == {"flux-1-dev": found["waiting"]}
        assert [one["id"] for one in found["models"]] == ["flux-1-dev"]
        (account,) = found["accounts"]
        assert (account["id"], account["name"]) == (key["account"], "busy")
        assert account["running"] > 0
        (priority,) = found["priorities"]
        for group in (*found["models"], account, priority):
            assert group["wait_seconds"] > 0
            assert group["work_seconds"] > 0

        async def fleet() -> Any:
            return await ask(service, "fleet")

        def has_steps(status: Any) -> bool:
            return any(shard["steps"] for one in status["instances"] for shard in one["shards"])

        status = await poll(fleet, has_steps)
        running_ = [shard for one in status["instances"] for shard in one["shards"] if shard["steps"]]
        assert all(0 <= shard["step"] <= shard["steps"] == 50 for shard in running_)
        assert status["account_names"] == {key["account"]: "busy"}
        assert status["summary"]["waiting_seconds"] > 0
        for job in jobs:
            await tell(service, f"jobs/{job}/cancel")


async def test_shows_how_models_do_and_why_an_instance_cannot_run_one(service: ServiceProcess) -> None:
    await run(service, (await new_key(service))["key"])
    listed = await ask(service, "health/models")
    (model,) = (one for one in listed["models"] if one["id"] == "flux-1-schnell")
    assert model["succeeded"] >= 1
    assert set(model["served_by"]) == {"sim-0", "sim-1"}
    assert model["run_seconds_manifest"] > 0
    assert model["run_seconds_learned"] is None or model["measured_runs"] > 0
    await tell(service, "instances/sim-1/drain")
    details = await ask(service, "health/models/flux-1-schnell")
    fitness = {one["instance"]: one for one in details["instances"]}
    assert fitness["sim-0"] == {"instance": "sim-0", "can_run": True, "reasons": []}
    assert not fitness["sim-1"]["can_run"]
    assert "draining" in fitness["sim-1"]["reasons"][0]
    await tell(service, "instances/sim-1/resume")
    assert all(row["code"] and row["message"] for row in details["failures"])


async def test_the_command_line_lists_shows_and_repeats_jobs_of_all_accounts(service: ServiceProcess) -> None:
    key = await new_key(service, "commanded")
    job = await run(service, key["key"], prompt="a dog [fault:out_of_memory]")
    command = ("jobs", "list", "--admin", "--account", key["account"], "--error", "out_of_memory")
    (row,) = service.run(*command, "--url", service.url)
    assert row["id"] == job["jobId"]
    table = service.command(*command, "--url", service.url).stdout
    assert all(name in table for name in ("instances", *row["instances"]))
    shown = service.command("jobs", "show", "--admin", job["jobId"], "--url", service.url)
    assert shown.stdout.count("attempt 0.") == 4
    assert "more GPU memory" in shown.stdout
    repeated = service.run("jobs", "retry", job["jobId"], "--url", service.url)
    assert repeated["id"] != job["jobId"]
    cancelled = service.run("jobs", "cancel", "--admin", repeated["id"], "--url", service.url)
    assert cancelled["status"] in ("cancelled", "failed")
    refused = service.command("jobs", "list", "--account", key["account"], "--url", service.url)
    assert (refused.returncode, "need --admin" in refused.stderr) == (1, True)


async def test_the_command_line_drains_and_resumes_all_instances(service: ServiceProcess) -> None:
    await wait_for_instances(service, lambda found: all(one["state"] == "ready" for one in found.values()))
    drained = service.run("instances", "drain", "--all", "--url", service.url)
    assert drained == {"instances": ["sim-0", "sim-1"], "refused": {}}
    resumed = service.command("instances", "resume", "--all", "--url", service.url)
    assert resumed.stdout == "resume: sim-0, sim-1\n"
    events = (await ask(service, "events", action="fleet", limit=2))["events"]
    assert [one["action"] for one in events] == ["fleet.resume", "fleet.drain"]
    assert "command line" in events[0]["actor"]
    refused = service.command("instances", "drain", "--url", service.url)
    assert (refused.returncode, "--all" in refused.stderr) == (1, True)
