"""LoRAs through the whole service: a dataset comes in by any way, a file of weights goes out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED

import aiohttp
import pytest
from safetensors.numpy import load

from comfy_instances.simulator.deliveries import INPUT_PREFIX
from tests.support.callers import new_key, wait_for_status
from tests.support.datasets import PETS, data_url, is_trained, zipped
from tests.support.images import base64_png, png
from tests.support.polling import poll
from tests.support.service import ServiceProcess
from tests.support.web_servers import Say, answer, endless, redirect, serving

MODEL = "sd-1.5-lora-trainer"
RUN = f"/api/v1/models/{MODEL}/run"
GENERATIONS = "/api/v1/images/generations"
QUICK = {"steps": 3, "rank": 2, "seed": 7}


async def train(http: aiohttp.ClientSession, dataset: str, **fields: Any) -> dict[str, Any]:
    """The finished job."""
    async with http.post(RUN, json={"dataset": dataset, **QUICK, **fields}) as response:
        assert response.status == 200, await response.text()
        job = (await response.json())["jobId"]
    return await wait_for_status(http, f"/api/v1/jobs/{job}", "completed", "failed")


async def lora(job: dict[str, Any]) -> bytes:
    """The file of a job."""
    (url,), (asset,) = job["output"]["files"], job["assets"]
    data = await download(url)
    assert (asset["contentType"], asset["bytes"]) == ("application/octet-stream", len(data))
    return data


async def download(url: str) -> bytes:
    """As somebody without a key."""
    async with aiohttp.ClientSession() as anybody, anybody.get(url) as response:
        assert (response.status, response.content_type) == (200, "application/octet-stream")
        return await response.read()


async def available(http: aiohttp.ClientSession) -> float:
    async with http.get("/api/v1/billing/balance") as response:
        wallet = await response.json()
    assert wallet["held_usd"] == 0
    return float(wallet["available_usd"])


async def test_from_an_archive_by_url_to_a_file(offering: ServiceProcess) -> None:
    async with serving(answer(zipped())) as server, offering.client(new_key(offering)) as http:
        job = await train(http, f"{server.url}/pets.zip?sign=%7E", trigger_word="sks")
        assert [head.split("\r\n")[0] for head in server.requests] == ["GET /pets.zip?sign=%7E HTTP/1.1"]
        assert is_trained(await lora(job))
        assert job["simulated"]
        assert "dataset" not in job["params"]
        assert await available(http) == pytest.approx(5 - job["costUsd"])


async def test_warns_of_files_of_the_archive_that_it_does_not_use(offering: ServiceProcess) -> None:
    archive = zipped({**PETS, "pets/notes.md": b"to do", "pets/cow.txt": b"a cow"})
    async with offering.client(new_key(offering)) as http:
        body = {"model": MODEL, "dataset": data_url(archive), "response_format": "url", **QUICK}
        async with http.post(GENERATIONS, json=body) as response:
            assert response.status == 200, await response.text()
            warnings = (await response.json())["usage"]["warnings"]
            header = response.headers["X-PixelFactory-Warnings"]
        async with http.post(GENERATIONS, json=body | {"dataset": data_url(zipped())}) as response:
            assert "notes.md" not in await response.text()
    unused = [each for each in warnings if each.startswith("`dataset`: not used: ")]
    assert [name for name in ("cow.txt", "notes.md", "cat.txt") if name in " ".join(unused)] == [
        "cow.txt",
        "notes.md",
    ]
    assert "notes.md" in header


async def test_all_ways_of_handing_over_are_one(offering: ServiceProcess) -> None:
    """Address, data URL and upload: the same pictures, so the same LoRA."""
    async with serving(answer(zipped())) as server, offering.client(new_key(offering)) as http:
        fetched = await lora(await train(http, server.url))
        carried = await lora(await train(http, data_url(zipped())))
        form = aiohttp.FormData({"model": MODEL, "response_format": "url"})
        for name, value in QUICK.items():
            form.add_field(name, str(value))
        form.add_field("dataset", zipped(), filename="pets.zip", content_type="application/zip")
        async with http.post(GENERATIONS, data=form) as response:
            assert response.status == 200, await response.text()
            (item,) = (await response.json())["data"]
    assert fetched == carried == await download(item["url"])


async def test_the_result_depends_on_images_captions_and_parameters(offering: ServiceProcess) -> None:
    usual = data_url(zipped())
    others: list[dict[str, Any]] = [
        {},
        {"dataset": data_url(zipped({**PETS, "pets/cat.txt": b"a lion"}))},
        {"dataset": data_url(zipped({**PETS, "pets/owl.png": png(64, 64)}))},
        {"dataset": data_url(png(), "image/png")},
        {"trigger_word": "sks"},
        {"size": 256},
        {"rank": 4},
    ]
    async with offering.client(new_key(offering)) as http:
        made = [await lora(await train(http, **({"dataset": usual} | one))) for one in others]
    assert len(set(made)) == len(others)
    assert {array.shape for array in load(made[-1]).values()} == {(64, 4), (4, 64)}


async def test_reports_each_step_and_leaves_no_files(paced: ServiceProcess) -> None:
    """Some seconds of training, so that there is time to ask for its events."""
    body = {"dataset": data_url(zipped()), **QUICK, "steps": 1500, "size": 768}
    async with paced.client(new_key(paced)) as http:
        async with http.post(RUN, json=body) as response:
            job = (await response.json())["jobId"]
        async with http.get(f"/api/v1/jobs/{job}/events") as response:
            lines = (await response.text()).splitlines()
    told = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    steps = [event for event in told if event.get("node") == "train"]
    # A reader who is slower than the card hears of the latest step only, so perhaps not of the last.
    assert {step["max"] for step in steps[1:]} == {1500}
    assert 1000 < steps[-1]["value"] <= 1500
    assert steps[-1]["fraction"] > 0.6
    fractions = [event["fraction"] for event in told if "fraction" in event]
    assert fractions == sorted(fractions)
    folders = [*(paced.data_dir / "instances").glob("*/[io][nu]*put")]
    assert len(folders) == 2
    await until_empty(folders)


async def until_empty(folders: list[Path]) -> None:
    """Files of a job are deleted after its end was reported; images that other jobs fetched stay cached."""

    async def find_files() -> list[str]:
        found = (path for folder in folders for path in folder.rglob("*"))
        return [str(path) for path in found if not path.name.startswith(INPUT_PREFIX)]

    await poll(find_files, lambda found: not found)


async def test_what_it_costs(service: ServiceProcess, key: str) -> None:
    costs = {}
    async with service.client(key) as http:
        for steps in (1, 1000, 3000):
            body = {"model": MODEL, "dataset": base64_png(), "steps": steps}
            async with http.post("/api/v1/quote", json=body) as response:
                costs[steps] = (await response.json())["cost_usd"]
        async with http.get(f"/api/v1/models/{MODEL}") as response:
            shown = await response.json()
    assert costs == {1: 0.01, 1000: 0.5, 3000: 1.5}
    assert (shown["type"], shown["modality"], shown["price_per_image_cents"]) == ("trainer", "training", 50)


async def test_the_same_dataset_twice_is_the_same_request(offering: ServiceProcess) -> None:
    repacked = zipped({name.removeprefix("pets/"): data for name, data in PETS.items()}, ZIP_STORED)
    async with offering.client(new_key(offering)) as http:
        http.headers["Idempotency-Key"] = "pets-1"
        first = await train(http, data_url(zipped()))
        assert (await train(http, data_url(repacked)))["jobId"] == first["jobId"]


BAD: dict[str, tuple[str, str]] = {
    "a page": (data_url(b"<html>"), "unsupported_dataset_format"),
    "no base64": ("*", "invalid_dataset"),
    "a broken picture": (data_url(zipped({"fox.png": png()[:90]})), "invalid_dataset"),
    "a way out": (data_url(zipped({"../fox.png": png()})), "invalid_dataset"),
    "no pictures": (data_url(zipped({"fox.txt": b"a fox"})), "empty_dataset"),
    "a bomb": (data_url(zipped({"fox.png": png(), "b.txt": bytes(2**24)})), "dataset_too_large"),
    "no dataset": ("", "invalid_dataset"),
}


@pytest.mark.parametrize("case", BAD)
async def test_bad_archives_cost_nothing(service: ServiceProcess, key: str, case: str) -> None:
    dataset, code = BAD[case]
    async with service.client(key) as http:
        before = await available(http)
        requests: list[tuple[str, dict[str, str], str]] = [
            (GENERATIONS, {"model": MODEL}, code),
            (RUN, {}, "validation_error"),
        ]
        for path, named, expected in requests:
            async with http.post(path, json={"dataset": dataset, **named}) as response:
                error = (await response.json())["error"]
                assert (response.status, error["code"], error["param"]) == (400, expected, "dataset")
        assert await available(http) == before


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "missing_dataset"),
        ({"dataset": 5}, "invalid_dataset"),
        ({"dataset": base64_png(), "steps": 0}, "invalid_steps"),
        ({"dataset": base64_png(), "learning_rate": 2}, "invalid_learning_rate"),
        ({"dataset": base64_png(), "rank": 1000}, "invalid_rank"),
        ({"dataset": base64_png(), "n": 2}, "invalid_n"),
        ({"dataset": base64_png(), "stream": True}, "invalid_stream"),
        ({"dataset": base64_png(), "output_format": "png"}, "invalid_output_format"),
    ],
)
async def test_bad_parameters(service: ServiceProcess, key: str, fields: dict[str, Any], code: str) -> None:
    body = {"model": MODEL, **fields}
    async with service.client(key) as http, http.post(GENERATIONS, json=body) as response:
        assert (response.status, (await response.json())["error"]["code"]) == (400, code)


async def test_captions_are_read_as_prompts_are(offering: ServiceProcess) -> None:
    """The operator allows no ogres."""
    async with offering.client(new_key(offering)) as http:
        dataset = data_url(zipped({**PETS, "pets/fox.txt": b"a fox and an ogre"}))
        async with http.post(GENERATIONS, json={"model": MODEL, "dataset": dataset}) as response:
            error = (await response.json())["error"]
            assert (response.status, error["param"]) == (400, "dataset"), error


@pytest.mark.parametrize(
    ("say", "code"),
    [
        (answer(b"not here", status="404 Not Found"), "dataset_url_unreachable"),
        (answer(b"short", "Content-Length: 90000"), "dataset_url_unreachable"),
        (redirect("file:///etc/passwd"), "dataset_url_refused"),
        (endless(bytes(2**20)), "dataset_too_large"),
        (answer(b"<html>sign in</html>", "Content-Type: application/zip"), "unsupported_dataset_format"),
    ],
)
async def test_addresses_without_a_dataset(offering: ServiceProcess, say: Say, code: str) -> None:
    async with serving(say) as server, offering.client(new_key(offering)) as http:
        body = {"model": MODEL, "dataset": f"{server.url}/pets.zip"}
        async with http.post(GENERATIONS, json=body) as response:
            assert (response.status, (await response.json())["error"]["code"]) == (400, code)


async def test_private_addresses_are_refused(service: ServiceProcess, key: str) -> None:
    async with serving(answer(zipped())) as server:
        body = {"model": MODEL, "dataset": server.url}
        async with service.client(key) as http, http.post(GENERATIONS, json=body) as response:
            assert (await response.json())["error"]["code"] == "dataset_url_refused"
    assert server.requests == []
