"""Authors publish models into a running service, which goes on with the jobs of earlier versions."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from PIL import Image

from orchestrator.settings import SHIPPED_WORKFLOWS_DIR
from tests.support.api import submit_job
from tests.support.callers import new_key, wait_for_status
from tests.support.polling import poll
from tests.support.publishing import (
    AUTHOR_SCOPES,
    GENERATIONS,
    GREEN,
    MODELS,
    RED,
    author,
    graph,
    publish,
    publishing_service,
    send,
)
from tests.support.service import ServiceProcess, running

__all__ = ["author"]

service = publishing_service


@pytest.fixture(scope="module")
def caller(service: ServiceProcess) -> str:
    return new_key(service)


async def make(service: ServiceProcess, key: str, model: str) -> tuple[int, dict[str, Any]]:
    return await send(service, key, "POST", GENERATIONS, {"model": model})


def colour_of(answer: dict[str, Any]) -> Any:
    image = Image.open(io.BytesIO(base64.b64decode(answer["data"][0]["b64_json"])))
    return image.convert("RGB").getpixel((0, 0))


async def test_a_dry_run_reports_and_stores_nothing(service: ServiceProcess, author: str) -> None:
    status, report = await publish(service, author, "dry", dry_run=True, manifest={})
    assert (status, report["usable"], report["kind"], report["state"]) == (200, True, "image", "")
    assert list(report["missing"]) == ["license"]
    assert report["owner"] == "studio"
    assert report["cost_usd"] > 0
    assert {"image", report["price_class"]} <= set(report["price_classes"])
    assert report["fixed"]["1.color"] == RED
    assert (await send(service, author, "GET", f"{MODELS}/dry"))[0] == 404
    assert (await make(service, author, "dry"))[1]["error"]["code"] == "model_not_found"


async def test_a_draft_is_for_its_author_and_operators(
    service: ServiceProcess, author: str, caller: str
) -> None:
    status, made = await publish(service, author, "private")
    assert (status, made["state"], made["call_as"]) == (201, "draft", "private")
    for name in ("private", "private@draft"):
        status, answer = await make(service, author, name)
        assert (status, colour_of(answer)) == (200, (255, 0, 0))
        status, answer = await make(service, caller, name)
        assert (status, answer["error"]["code"]) == (400, "model_not_found")
        for path in (f"/v1/models/{name}", f"/api/v1/models/{name}/schema"):
            assert (await send(service, author, "GET", path))[0] == 200
            assert (await send(service, caller, "GET", path))[0] in (400, 404)
            assert (await send(service, None, "GET", path))[0] in (400, 404)
    for path in ("/v1/models", "/api/v1/models", "/api/v1/images/models"):
        assert "private" in json.dumps((await send(service, author, "GET", path))[1])
        for key in (caller, None):
            assert "private" not in json.dumps((await send(service, key, "GET", path))[1])
    async with service.client(author) as http, http.get("/llms.txt") as response:
        assert "private" not in await response.text()
    for path, body in (
        ("/v1/image/generate", {"model": "private", "prompt": "x"}),
        ("/api/v1/models/private/run", {}),
        ("/api/v1/quote", {"model": "private"}),
        ("/v1/images/generations", {"model": "private"}),
    ):
        status, answer = await send(service, caller, "POST", path, body)
        assert status in (400, 404, 422), (path, answer)
        assert "does not exist" in json.dumps(answer), answer
    for name in ("private", "private@draft"):
        status, opened = await send(service, author, "GET", f"{MODELS}/{name}/workflow")
        assert (status, opened["version"]) == (200, "draft")
        assert (await send(service, caller, "GET", f"{MODELS}/{name}/workflow"))[0] == 403
    listed = (await send(service, author, "GET", MODELS))[1]
    assert "private" in [row["id"] for row in listed["drafts"]]
    assert (await send(service, caller, "GET", MODELS))[0] == 403
    other = new_key(service, scopes=AUTHOR_SCOPES)
    for path in ("", "/workflow", "@draft/workflow"):
        assert (await send(service, other, "GET", f"{MODELS}/private{path}"))[0] == 404
    assert (await send(service, other, "POST", f"{MODELS}/private/test", {}))[0] == 404
    listed = (await send(service, other, "GET", MODELS))[1]
    assert "private" not in [row["id"] for row in listed["drafts"]]
    status, job = await send(service, service.admin_token, "POST", f"{MODELS}/private/test", {})
    assert (status, job["status"], job["costUsd"]) == (200, "completed", 0)
    assert job["assets"][0]["contentType"] == "image/png"


async def test_publishing_needs_the_scope_and_keys_cannot_give_it_themselves(
    service: ServiceProcess, caller: str
) -> None:
    for method, path in (
        ("POST", MODELS),
        ("GET", MODELS),
        ("GET", f"{MODELS}/sdxl-1.0"),
        ("DELETE", f"{MODELS}/sdxl-1.0"),
        ("POST", f"{MODELS}/sdxl-1.0/publish"),
        ("POST", f"{MODELS}/sdxl-1.0/rollback"),
        ("POST", f"{MODELS}/sdxl-1.0/test"),
        ("GET", f"{MODELS}/sdxl-1.0/workflow"),
        ("GET", f"{MODELS}/sdxl-1.0/diff"),
    ):
        status, answer = await send(service, caller, method, path, {} if method == "POST" else None)
        assert (status, answer["error"]["code"]) == (403, "insufficient_scope"), path
        assert (await send(service, "pk-unknown", method, path))[0] == 401
        assert (await send(service, "wrong", method, path))[0] == 401
        assert (await send(service, None, method, path))[0] == 401
    status, answer = await send(
        service, service.admin_token, "POST", "/admin/v1/keys", {"name": "x", "credit_usd": 1}
    )
    assert (status, answer["scopes"]) == (201, ["billing", "generate", "read"])


async def test_publishes_replaces_compares_and_rolls_back(
    service: ServiceProcess, author: str, caller: str
) -> None:
    status, one = await publish(service, author, "hare", publish=True, test_run=True, why="first")
    assert (status, one["state"], one["test"]["status"]) == (201, "live", "completed")
    assert colour_of((await make(service, caller, "hare"))[1]) == (255, 0, 0)

    status, answer = await publish(service, author, "hare", prompt=graph(GREEN))
    assert (status, answer["error"]["code"]) == (409, "model_exists")
    status, two = await publish(service, author, "hare", prompt=graph(GREEN), replace=True)
    assert (status, two["state"], two["call_as"]) == (201, "draft", "hare@draft")
    assert colour_of((await make(service, author, "hare@draft"))[1]) == (0, 255, 0)
    for key in (author, caller):
        assert colour_of((await make(service, key, "hare"))[1]) == (255, 0, 0)
    diff = (await send(service, author, "GET", f"{MODELS}/hare/diff"))[1]["diff"]
    assert f'-      "color": {RED}' in diff
    assert f'+      "color": {GREEN}' in diff

    status, published = await send(service, author, "POST", f"{MODELS}/hare/publish", {"why": "greener"})
    assert (status, published["version"]) == (200, two["version"])
    assert colour_of((await make(service, caller, "hare"))[1]) == (0, 255, 0)
    status, answer = await publish(
        service, author, "hare", publish=True, replace=True, base_version=one["version"]
    )
    assert (status, answer["error"]["code"]) == (409, "version_conflict")

    status, back = await send(service, author, "POST", f"{MODELS}/hare/rollback", {"why": "too green"})
    assert (status, back["version"]) == (200, one["version"])
    assert colour_of((await make(service, caller, "hare"))[1]) == (255, 0, 0)
    shown = (await send(service, author, "GET", f"{MODELS}/hare"))[1]
    assert [(row["action"], row["why"]) for row in shown["history"]][:3] == [
        ("rollback", "too green"),
        ("publish", "greener"),
        ("draft", ""),
    ]
    assert shown["history"][0]["by"].startswith("key studio (key_")
    assert (shown["live"], shown["shipped"]) == (one["version"], False)
    workflow = (await send(service, author, "GET", f"{MODELS}/hare/workflow?version={two['version'][:8]}"))[1]
    assert workflow["prompt"]["1"]["inputs"]["color"] == GREEN
    assert workflow["workflow"]["nodes"]


async def test_every_run_loads_a_file_that_the_author_fixed(
    service: ServiceProcess, author: str, caller: str
) -> None:
    loads = {"class_type": "LoadImage", "inputs": {"image": "seal.png"}, "_meta": {}}
    prompt = graph() | {"1": loads}
    picture = io.BytesIO()
    Image.new("RGB", (64, 64), (0, 0, 255)).save(picture, "PNG")
    data = f"data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()}"
    fields = {
        "prompt": prompt,
        "manifest": {"license": "mit", "parameters": {"image": None}},
        "publish": True,
    }
    status, answer = await publish(service, author, "sealed", **fields)
    assert (status, answer["error"]["code"]) == (400, "incomplete_manifest")
    assert "seal.png" in answer["error"]["message"]
    files = [{"name": "seal.png", "data": data}]
    assert (await publish(service, author, "sealed", **fields, example_files=files))[0] == 201
    for _ in range(2):
        status, answer = await make(service, caller, "sealed")
        assert (status, colour_of(answer)) == (200, (0, 0, 255))
    status, answer = await publish(service, author, "sealed", prompt=prompt, replace=True, publish=True)
    assert status == 201, answer
    assert not answer["report"]["parameters"]
    assert answer["report"]["fixed"]["1.image"] == "seal.png"
    assert colour_of((await make(service, caller, "sealed"))[1]) == (0, 0, 255)
    shown = await send(service, author, "GET", f"{MODELS}/sealed/workflow")
    assert shown[1]["prompt"]["1"]["inputs"]["image"] == "seal.png"
    assert (shown[1]["files"], shown[1]["missing_files"]) == (files, [])


async def test_callers_pay_for_all_results_of_a_batch(
    service: ServiceProcess, author: str, caller: str
) -> None:
    prompt = graph()
    assert (await publish(service, author, "single", publish=True))[0] == 201

    async def quote(model: str, n: int) -> dict[str, Any]:
        return (await send(service, caller, "POST", "/api/v1/quote", {"model": model, "n": n}))[1]

    prompt["1"]["inputs"]["batch_size"] = 3
    status, answer = await publish(service, author, "triple", prompt=prompt, publish=True)
    assert (status, answer["report"]["results"]) == (201, 3)
    single = await quote("single", 3)
    assert "results" not in single
    assert answer["report"]["cost_usd"] == single["cost_usd"]
    triple = await quote("triple", 2)
    assert (triple["results"], triple["cost_usd"]) == (6, pytest.approx(2 * single["cost_usd"]))
    status, answer = await make(service, caller, "triple")
    assert (status, len(answer["data"])) == (200, 3)
    listed = {row["id"]: row for row in (await send(service, caller, "GET", "/v1/models"))[1]["data"]}
    cents = "price_per_image_cents"
    assert listed["triple"][cents] == listed["single"][cents]


async def test_a_model_of_another_author_or_of_the_operator_is_not_replaced(
    service: ServiceProcess, author: str
) -> None:
    assert (await publish(service, author, "mine"))[0] == 201
    other = new_key(service, scopes=AUTHOR_SCOPES)
    for id in ("mine", "sdxl-1.0"):
        status, answer = await publish(service, other, id, replace=True, publish=True)
        assert (status, answer["error"]["code"]) == (403, "model_not_yours")
    assert (await publish(service, author, "lent", publish=True))[0] == 201
    status, answer = await send(service, other, "GET", f"{MODELS}/lent/workflow")
    assert (status, answer["error"]["code"]) == (403, "model_not_yours")
    assert (await send(service, other, "GET", f"{MODELS}/sdxl-1.0/workflow"))[0] == 200
    drafted = (await send(service, author, "GET", f"{MODELS}/mine"))[1]
    assert (drafted["live"], drafted["shipped"]) == (None, False)
    before = (SHIPPED_WORKFLOWS_DIR / "sdxl-1.0" / "graph.json").read_bytes()
    status, overlaid = await publish(service, service.admin_token, "sdxl-1.0", replace=True, publish=True)
    assert (status, overlaid["state"]) == (201, "live")
    assert colour_of((await make(service, author, "sdxl-1.0"))[1]) == (255, 0, 0)
    status, _ = await send(service, service.admin_token, "DELETE", f"{MODELS}/sdxl-1.0")
    assert status == 200
    status, answer = await send(service, service.admin_token, "DELETE", f"{MODELS}/sdxl-1.0")
    assert (status, answer["error"]["code"]) == (409, "model_is_shipped")
    assert (SHIPPED_WORKFLOWS_DIR / "sdxl-1.0" / "graph.json").read_bytes() == before
    assert (service.data_dir / "workflows" / ".versions" / "sdxl-1.0").is_dir()


async def test_of_two_authors_at_once_one_gets_the_id(service: ServiceProcess, author: str) -> None:
    other = new_key(service, scopes=AUTHOR_SCOPES)
    answers = await asyncio.gather(
        *(publish(service, key, "contested", replace=True, publish=True) for key in [author, other] * 4)
    )
    statuses = [status for status, _ in answers]
    assert sorted(statuses) == [201] * 4 + [403] * 4
    assert len(set(statuses[::2])) == len(set(statuses[1::2])) == 1


async def test_refuses_hostile_graphs_with_what_is_wrong(service: ServiceProcess, author: str) -> None:
    loader = {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "../../etc/x"}, "_meta": {}}
    unknown = {"class_type": "RunShell", "inputs": {"command": "id"}, "_meta": {}}
    used = {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "y"}, "_meta": {}}
    cycle = graph()
    cycle["1"]["inputs"]["width"] = ["2", 0]
    for name, prompt, text in (
        ("unknown class", graph() | {"3": unknown, "4": used}, "RunShell"),
        ("path", graph() | {"3": loader, "4": used}, "node 3"),
        ("cycle", cycle, "depend on each other"),
        ("none", {"1": {}}, "workflow"),
        ("empty", {}, ""),
    ):
        for fields in ({}, {"publish": True}):
            status, answer = await publish(service, author, "hostile", prompt=prompt, **fields)
            assert status == 400, (name, answer)
            assert text in answer["error"]["message"], (name, answer)
    assert (await send(service, author, "GET", f"{MODELS}/hostile"))[0] == 404
    for id in ("../../hostile", ".versions", "A B", ""):
        assert (await publish(service, author, id))[0] == 400
    status, answer = await publish(service, author, "hostile", manifest={"price_class": "nope"})
    assert (status, answer["error"]["code"]) == (400, "invalid_price_class")
    assert "flux-1-schnell" in answer["error"]["message"]
    status, answer = await publish(service, author, "hostile", publish=True, manifest={})
    assert (status, answer["error"]["code"]) == (400, "incomplete_manifest")
    assert "license" in answer["error"]["missing"]


async def test_refuses_a_body_of_50_megabytes(service: ServiceProcess, author: str) -> None:
    text = json.dumps({"id": "large", "prompt": graph(), "object_info": {"x": "y" * (50 * 2**20)}})
    async with service.client(author) as http:
        try:
            async with http.post(MODELS, data=io.BytesIO(text.encode())) as response:
                assert (response.status, (await response.json())["error"]["code"]) == (
                    400,
                    "payload_too_large",
                )
        except aiohttp.ClientConnectionError:
            pass  # the service answered and closed before everything was sent
    assert (await send(service, author, "GET", f"{MODELS}/large"))[0] == 404


async def test_a_price_class_made_meanwhile_prices_a_model(service: ServiceProcess, author: str) -> None:
    done = await asyncio.to_thread(service.command, "prices", "new", "gold", "0.5", "--scale", "flat")
    assert done.returncode == 0, done.stderr
    manifest = {"license": "mit", "price_class": "gold"}
    status, report = await publish(service, author, "golden", dry_run=True, manifest=manifest)
    assert (status, report["cost_usd"]) == (200, 0.5)
    assert (await publish(service, author, "golden", publish=True, manifest=manifest))[0] == 201
    status, quote = await send(service, author, "POST", "/api/v1/quote", {"model": "golden"})
    assert (status, quote["cost_usd"]) == (200, 0.5)


async def test_commands_and_requests_change_the_same_models(service: ServiceProcess, author: str) -> None:
    assert (await publish(service, author, "shared", publish=True))[0] == 201
    assert (await publish(service, author, "shared", prompt=graph(GREEN), publish=True, replace=True))[
        0
    ] == 201
    run = service.run
    history = await asyncio.to_thread(run, "models", "history", "shared", "--json")
    assert [row["action"] for row in history] == ["publish", "publish"]
    rolled = await asyncio.to_thread(run, "models", "rollback", "shared", "--why", "by hand", "--json")
    assert rolled["version"] == history[1]["version"]

    async def colour() -> Any:
        return colour_of((await make(service, author, "shared"))[1])

    assert await poll(colour, lambda found: found == (255, 0, 0)) == (255, 0, 0)
    diff = await asyncio.to_thread(
        run, "models", "diff", "shared", history[0]["version"][:8], "live", "--json"
    )
    assert f'-      "color": {GREEN}' in diff["diff"]


async def test_operators_call_drafts_by_a_key_of_their_account(service: ServiceProcess, author: str) -> None:
    assert (await publish(service, author, "reviewed"))[0] == 201
    created = ("keys", "create", "--operators", "--credit", "1.00", "--json")
    key = (await asyncio.to_thread(service.run, *created))["key"]

    async def status() -> int:
        return (await make(service, key, "reviewed"))[0]

    assert await poll(status, lambda found: found == 200) == 200


@pytest.mark.slow
async def test_jobs_of_a_version_go_on_when_it_is_replaced_rolled_back_and_removed(tmp_path: Path) -> None:
    environment = {"PIXELFACTORY_SIMULATOR_TIME_SCALE": "1"}
    prompt = json.loads((SHIPPED_WORKFLOWS_DIR / "sd-1.5" / "graph.json").read_text())
    slow = ServiceProcess(tmp_path / "data", ("--simulate", "1"), environment)
    with running(slow):
        token = slow.admin_token
        async with slow.client(token) as http, http.get(f"{MODELS}/sd-1.5/workflow") as response:
            prompt = (await response.json())["prompt"]
        assert (await publish(slow, token, "busy", prompt=prompt, publish=True))[0] == 201
        key = slow.key()
        body = {"model": "busy", "prompt": "a hare", "size": "512x512", "steps": 30, "n": 4}
        async with slow.client(key) as http:
            job = await submit_job(http, body)
            await wait_for_status(http, f"/api/v1/jobs/{job}", "processing")
            # The next version has other parameters: it could not run the job.
            answer = await publish(slow, token, "busy", prompt=graph(GREEN), publish=True, replace=True)
            assert answer[0] == 201, answer
            assert (await send(slow, token, "POST", f"{MODELS}/busy/rollback", {}))[0] == 200
            assert (await send(slow, token, "DELETE", f"{MODELS}/busy"))[0] == 200
            assert (await make(slow, key, "busy"))[1]["error"]["code"] == "model_not_found"
            slow.kill()
            slow.start()
        async with slow.client(key) as http:
            record = await wait_for_status(http, f"/api/v1/jobs/{job}", "completed", "failed")
            assert (record["status"], record["error"]) == ("completed", None)
            assert len(record["assets"]) == 4
            assert "@model_version" not in json.dumps(record)
