"""LoRAs from end to end: trained by an account, listed, and used by that account in every dialect."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.integration.conftest import PATIENT, share_loras
from tests.support.callers import new_key, set_back, wait_for_status
from tests.support.datasets import data_url, zipped
from tests.support.service import ServiceProcess, running

GENERATIONS = "/api/v1/images/generations"
TRAINER = "sd-1.5-lora-trainer"
SMALL = {"model": "sd-1.5", "prompt": "a sks fox", "size": "256x256", "steps": 2, "seed": 1}


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A service whose operator shares two LoRAs, on one of its two instances a third."""
    models = tmp_path_factory.mktemp("models")
    share_loras(models, "ink", "gold")
    data = tmp_path_factory.mktemp("studio")
    share_loras(data / "instances" / "sim-1" / "models", "only-here")
    environment = {"PIXELFACTORY_MODELS_DIR": str(models), **PATIENT}
    with running(ServiceProcess(data, ("--simulate", "2"), environment)) as started:
        yield started


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A service whose operator shares LoRAs with headers as trainers write them."""
    models = tmp_path_factory.mktemp("models")
    share_loras(models, "plain")
    versions = {
        "of-flux": {"modelspec.architecture": "flux-1-dev/lora"},
        "of-sd15": {"ss_base_model_version": "sd_v1"},
        "of-sdxl": {"modelspec.architecture": "", "ss_base_model_version": "sdxl_base_v1-0"},
    }
    for name, metadata in versions.items():
        header = json.dumps({"__metadata__": metadata}).encode()
        file = models / "loras" / f"{name}.safetensors"
        file.write_bytes(len(header).to_bytes(8, "little") + header)
    environment = {"PIXELFACTORY_MODELS_DIR": str(models), **PATIENT}
    with running(
        ServiceProcess(tmp_path_factory.mktemp("described"), ("--simulate", "1"), environment)
    ) as started:
        yield started


@pytest.fixture
async def http(studio: ServiceProcess) -> AsyncIterator[aiohttp.ClientSession]:
    """A caller with an account of its own."""
    async with studio.client(new_key(studio)) as http:
        yield http


async def train(http: aiohttp.ClientSession, model: str = TRAINER, **fields: Any) -> dict[str, Any]:
    """Return the finished job."""
    body = {"dataset": data_url(zipped()), "steps": 2, "rank": 2, "seed": 7, **fields}
    async with http.post(f"/api/v1/models/{model}/run", json=body) as response:
        assert response.status == 200, await response.text()
        job = (await response.json())["jobId"]
    return await wait_for_status(http, f"/api/v1/jobs/{job}", "completed", "failed")


async def generate(http: aiohttp.ClientSession, **fields: Any) -> str:
    """Return the picture as base64."""
    body = {**SMALL, "response_format": "b64_json", **fields}
    async with http.post(GENERATIONS, json=body) as response:
        assert response.status == 200, await response.text()
        (item,) = (await response.json())["data"]
    return str(item["b64_json"])


async def refusal(http: aiohttp.ClientSession, **fields: Any) -> dict[str, Any]:
    """Return the error of a request that is refused and costs nothing."""
    before = await balance(http)
    async with http.post(GENERATIONS, json={**SMALL, **fields}) as response:
        body = await response.json()
        assert response.status == 400, body
    assert await balance(http) == before
    return dict(body["error"])


async def balance(http: aiohttp.ClientSession) -> dict[str, Any]:
    async with http.get("/api/v1/billing/balance") as response:
        return dict(await response.json())


async def listed(http: aiohttp.ClientSession, query: str = "") -> list[dict[str, Any]]:
    async with http.get(f"/api/v1/loras{query}") as response:
        assert response.status == 200, await response.text()
        return list((await response.json())["loras"])


def uploaded(studio: ServiceProcess) -> set[str]:
    """Return the names of the files that were brought to instances."""
    return {path.name for path in studio.data_dir.glob("instances/*/output/loras/*")}


async def test_a_trained_lora_is_listed_with_what_there_is_to_know(http: aiohttp.ClientSession) -> None:
    job = await train(http, trigger_word="sks", lora_name="my-fox")
    own, *shared = await listed(http)
    assert [(one["name"], one["shared"], one["job_id"]) for one in shared] == [
        (name, True, None) for name in ("gold", "ink", "only-here")
    ]
    assert (own["id"], own["job_id"], own["trainer"]) == (job["jobId"], job["jobId"], TRAINER)
    assert (own["name"], own["trigger_word"], own["architecture"]) == ("my-fox", "sks", "sd15")
    assert (own["shared"], "sd-1.5" in own["models"], "flux-1-dev" in own["models"]) == (False, True, False)
    assert own["bytes"] == job["assets"][0]["bytes"]
    assert datetime.fromisoformat(own["expires_at"]) > datetime.fromisoformat(own["created_at"])
    async with aiohttp.ClientSession() as anybody, anybody.get(own["url"]) as response:
        assert len(await response.read()) == own["bytes"]


async def test_a_lora_works_by_job_by_url_and_by_name_alike(
    http: aiohttp.ClientSession, studio: ServiceProcess
) -> None:
    plain = await generate(http)
    job = await train(http, lora_name="my-fox")
    forms: list[dict[str, Any]] = [
        {"job_id": job["jobId"]},
        {"name": job["jobId"]},
        {"url": job["output"]["files"][0]},
        {"path": job["assets"][0]["url"], "scale": 1},
        {"name": "my-fox", "strength": 1.0},
        {"path": "my-fox.safetensors"},
    ]
    pictures = {await generate(http, loras=[form]) for form in forms} | {
        await generate(http, loras=["my-fox"])
    }
    assert len(pictures) == 1
    assert plain not in pictures
    weaker = await generate(http, loras=[{"job_id": job["jobId"], "strength": 0.5}])
    assert weaker not in pictures
    sha256 = (await listed(http))[0]["sha256"]
    assert f"pixelfactory-lora-{sha256}.safetensors" in uploaded(studio)


async def test_two_loras_of_one_account_and_a_shared_one_are_applied_together(
    http: aiohttp.ClientSession,
) -> None:
    first, second = await train(http, lora_name="one"), await train(http, lora_name="two", seed=8)
    both = await generate(http, loras=["one", "two"])
    three = await generate(http, loras=[{"job_id": first["jobId"]}, {"name": "two"}, {"name": "ink"}])
    assert len({both, three, await generate(http, loras=["one"]), await generate(http, loras=["ink"])}) == 4
    async with http.get("/api/v1/jobs?limit=3") as response:
        shown = (await response.json())["jobs"][2]["params"]
    assert shown["loras"] == [
        {"job_id": first["jobId"], "strength": 1.0},
        {"job_id": second["jobId"], "strength": 1.0},
        {"name": "ink", "strength": 1.0},
    ]
    assert "lora_objects" not in shown


async def test_only_the_account_that_trained_it_can_use_it(
    http: aiohttp.ClientSession, studio: ServiceProcess
) -> None:
    job = await train(http, lora_name="my-fox")
    (own, *_) = await listed(http)
    async with studio.client(new_key(studio)) as other:
        assert not [one for one in await listed(other) if not one["shared"]]
        for form in (
            {"job_id": job["jobId"]},
            {"name": "my-fox"},
            {"url": job["output"]["files"][0]},
            {"name": f"pixelfactory-lora-{own['sha256']}"},
        ):
            error = await refusal(other, loras=[form])
            assert (error["code"], error["param"]) == ("unknown_lora", "loras"), error
            assert "/api/v1/loras" in error["message"]
        async with other.delete(f"/api/v1/loras/{job['jobId']}") as response:
            assert (response.status, (await response.json())["error"]["code"]) == (404, "lora_not_found")
    assert await generate(http, loras=["my-fox"])


async def test_an_unknown_name_is_refused_with_the_nearest(http: aiohttp.ClientSession) -> None:
    await train(http, lora_name="my-fox")
    assert "did you mean my-fox" in (await refusal(http, loras=[{"name": "my-foxx"}]))["message"]
    error = await refusal(http, loras=[{"name": "golf"}])
    assert (error["code"], error["param"]) == ("unknown_lora", "loras")
    assert "did you mean gold" in error["message"]
    assert "did you mean" not in (await refusal(http, loras=[{"name": "zzzzzzzzzz"}]))["message"]
    async with http.post("/api/v1/quote", json={**SMALL, "loras": [{"name": "golf"}]}) as response:
        assert (response.status, (await response.json())["error"]["code"]) == (400, "unknown_lora")


async def test_a_file_of_one_instance_is_used_there(http: aiohttp.ClientSession) -> None:
    """The other instance lacks it; together with all others it exists on one too."""
    assert len({await generate(http, loras=["only-here", "ink"], seed=seed) for seed in range(4)}) == 4


async def test_a_lora_for_another_architecture_is_refused_with_the_models_that_take_it(
    http: aiohttp.ClientSession,
) -> None:
    await train(http, "sdxl-1.0-lora-trainer", lora_name="xl", size=512)
    await train(http, "flux-2-klein-4b-lora-trainer", lora_name="klein", size=512)
    for lora, model, way_out in (
        ("xl", "flux-1-dev", "sdxl-1.0"),
        ("xl", "sd-1.5", "sdxl-1.0"),
        ("klein", "flux-2-dev", "flux-2-klein-4b"),
    ):
        error = await refusal(http, model=model, loras=[{"name": lora}])
        assert (error["code"], error["param"]) == ("lora_mismatch", "loras"), error
        assert way_out in error["message"]
    assert await generate(http, model="sdxl-1.0", loras=["xl"])
    assert await generate(http, model="flux-2-klein-4b", loras=["klein"], size="512x512")


@pytest.mark.parametrize(
    ("loras", "part"),
    [
        ("ink", "must be a list"),
        ([5], "items must be objects"),
        ([{}], "items need a LoRA"),
        ([{"name": "ink", "weight": 1}], "no field 'weight'"),
        ([{"name": "ink", "path": "ink"}], "must not have both `name` and `path`"),
        ([{"name": "ink", "strength": 1, "scale": 1}], "must not have both `strength` and `scale`"),
        ([{"name": "ink", "strength": "1"}], "strengths must be numbers"),
        ([{"name": "ink", "scale": 5}], "between -2 and 2"),
        ([{"name": "../ink"}], "no folder"),
        ([{"name": "ink"}] * 5, "at most 4"),
    ],
)
async def test_wrong_forms_are_refused(http: aiohttp.ClientSession, loras: Any, part: str) -> None:
    error = await refusal(http, loras=loras)
    assert (error["code"], error["param"]) == ("invalid_loras", "loras")
    assert part in error["message"]


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/a.safetensors",
        "https://example.com/loras/aa/0-" + "0" * 64 + ".safetensors",
        "http://[::1/loras",
    ],
)
async def test_urls_of_others_are_refused(http: aiohttp.ClientSession, url: str) -> None:
    assert (await refusal(http, loras=[{"url": url}]))["code"] == "unknown_lora"


async def test_jobs_without_a_lora_are_refused_with_the_reason(http: aiohttp.ClientSession) -> None:
    async with http.post(GENERATIONS, json=SMALL) as response:
        picture = response.headers["X-PixelFactory-Job"]
    assert "its model is sd-1.5" in (await refusal(http, loras=[{"job_id": picture}]))["message"]
    unknown = "job_" + "0" * 32
    assert "has no job" in (await refusal(http, loras=[{"job_id": unknown}]))["message"]


@pytest.mark.parametrize(
    "name", ["a b", "../a", ".a", "a.safetensors", "job_" + "0" * 32, "pixelfactory-lora-a"]
)
async def test_names_that_requests_could_not_use_are_refused(http: aiohttp.ClientSession, name: str) -> None:
    body = {"model": TRAINER, "dataset": data_url(zipped()), "lora_name": name}
    async with http.post(GENERATIONS, json=body) as response:
        assert (response.status, (await response.json())["error"]["code"]) == (400, "invalid_lora_name")


async def test_a_new_lora_takes_over_the_name(http: aiohttp.ClientSession) -> None:
    older = await train(http, lora_name="fox")
    before = await generate(http, loras=["fox"])
    await train(http, lora_name="fox", seed=9)
    assert await generate(http, loras=["fox"]) != before
    assert await generate(http, loras=[{"job_id": older["jobId"]}]) == before


async def test_an_own_lora_precedes_a_shared_one_of_its_name(http: aiohttp.ClientSession) -> None:
    shared = await generate(http, loras=["ink"])
    job = await train(http, lora_name="ink")
    assert await generate(http, loras=["ink"]) != shared
    async with http.delete(f"/api/v1/loras/{job['jobId']}") as response:
        assert response.status == 204
    assert await generate(http, loras=["ink"]) == shared


async def test_a_deleted_lora_is_unknown(http: aiohttp.ClientSession) -> None:
    job = await train(http, lora_name="fox")
    url = job["output"]["files"][0]
    async with http.delete(f"/api/v1/loras/{job['jobId']}") as response:
        assert response.status == 204
    assert [one["name"] for one in await listed(http) if not one["shared"]] == []
    for form in ({"name": "fox"}, {"job_id": job["jobId"]}, {"url": url}):
        assert (await refusal(http, loras=[form]))["code"] == "unknown_lora"
    async with aiohttp.ClientSession() as anybody, anybody.get(url) as response:
        assert response.status == 404
    async with http.get(f"/api/v1/jobs/{job['jobId']}") as response:
        assert response.status == 404


@pytest.mark.slow
async def test_a_shared_file_for_another_architecture_is_refused(
    described: ServiceProcess,
) -> None:
    async with described.client(new_key(described)) as http:
        shared = {one["name"]: one for one in await listed(http)}
        assert {name: one["architecture"] for name, one in shared.items()} == {
            "of-flux": "flux", "of-sd15": "sd15", "of-sdxl": "sdxl", "plain": None
        }  # fmt: skip
        assert "sd-1.5" in shared["of-sd15"]["models"]
        assert shared["plain"]["models"] is None
        for name, way_out in (("of-flux", "flux-1-dev"), ("of-sdxl", "sdxl-1.0")):
            error = await refusal(http, loras=[name])
            assert (error["code"], error["param"]) == ("lora_mismatch", "loras")
            assert way_out in error["message"]
        assert await generate(http, loras=["of-sd15", "plain"])


async def test_lists_in_pages_with_shared_ones_last(http: aiohttp.ClientSession) -> None:
    made = [(await train(http, lora_name=f"fox-{number}"))["jobId"] for number in range(2)]
    async with http.get("/api/v1/loras?limit=1") as response:
        first = await response.json()
    second = await listed(http, f"?limit=1&cursor={first['next_cursor']}")
    assert [one["id"] for one in (*first["loras"], *second)] == [*made[::-1], "gold", "ink", "only-here"]


async def test_a_key_that_may_only_generate_uses_but_does_not_list(studio: ServiceProcess) -> None:
    async with studio.client(new_key(studio, scopes=["generate"])) as http:
        async with http.get("/api/v1/loras") as response:
            assert response.status == 403
        assert await generate(http, loras=["ink"])
    async with studio.client(new_key(studio, scopes=["read"])) as http:
        assert await listed(http)
        async with http.delete("/api/v1/loras/job_0") as response:
            assert response.status == 403


async def test_a_lora_outlives_its_job_and_then_expires(
    http: aiohttp.ClientSession, studio: ServiceProcess
) -> None:
    job = await train(http, lora_name="fox")
    before = await generate(http, loras=["fox"])
    set_back(studio, job["jobId"], timedelta(days=30))
    async with http.get(f"/api/v1/jobs/{job['jobId']}") as response:
        assert response.status == 410
    assert await generate(http, loras=[{"job_id": job["jobId"]}]) == before
    set_lora_back(studio.data_dir, job["jobId"], timedelta(days=366))
    for form in ({"name": "fox"}, {"job_id": job["jobId"]}, {"url": job["output"]["files"][0]}):
        error = await refusal(http, loras=[form])
        assert (error["code"], "train it again" in error["message"]) == ("lora_expired", True)
    assert not [one for one in await listed(http) if not one["shared"]]


def set_lora_back(data_dir: Path, job_id: str, by: timedelta) -> None:
    """Move the training of a LoRA into the past."""
    with closing(sqlite3.connect(data_dir / "pixelfactory.db", timeout=30)) as db, db:
        (text,) = db.execute("SELECT created_at FROM loras WHERE job_id = ?", (job_id,)).fetchone()
        earlier = (datetime.fromisoformat(text) - by).isoformat(timespec="microseconds")
        db.execute("UPDATE loras SET created_at = ? WHERE job_id = ?", (earlier, job_id))


async def test_a_strength_of_zero_leaves_the_picture_unchanged(http: aiohttp.ClientSession) -> None:
    plain = await generate(http)
    job = await train(http, lora_name="idle")
    assert await generate(http, loras=[{"id": job["jobId"], "strength": 0}]) == plain
    assert await generate(http, loras=[{"id": job["jobId"], "strength": 0.01}]) != plain
    flux = {"model": "flux-1-dev", "seed": 2}
    assert await generate(http, **flux) == await generate(http, **flux, loras=[{"id": "ink", "strength": 0}])


async def test_every_listed_id_is_accepted(http: aiohttp.ClientSession) -> None:
    await train(http, lora_name="listed")
    own, *shared = await listed(http)
    plain = await generate(http)
    for lora in (own, next(one for one in shared if one["name"] == "ink")):
        assert await generate(http, loras=[{"id": lora["id"]}]) != plain


async def test_rejects_a_lora_that_is_given_twice(http: aiohttp.ClientSession) -> None:
    job = await train(http, lora_name="twin")
    own = job["jobId"]
    for loras, positions in (
        ([{"id": own}, {"name": "twin"}], "entries 1 and 2"),
        (["ink", {"url": job["output"]["files"][0]}, {"job_id": own}], "entries 2 and 3"),
        (["gold", "ink", {"path": "gold.safetensors", "scale": 0.5}], "entries 1 and 3"),
    ):
        error = await refusal(http, loras=loras)
        assert (error["code"], error["param"]) == ("duplicate_lora", "loras")
        assert positions in error["message"]
