"""Models that may not be sold: named in `warn` mode, refused to paying accounts in `strict` mode."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.callers import new_key
from tests.support.repeats import first_always
from tests.support.service import ServiceProcess, running

MODEL = "flux-1-dev"
SMALL = {"prompt": "a cat", "size": "256x256"}
SMALL_SIDES = {"prompt": "a cat", "width": 256, "height": 256}
#: A caller's own graph, which names weights that may not be sold.
GRAPH = {
    "1": {"class_type": "UpscaleModelLoader", "inputs": {"model_name": "4x-UltraSharp.pth"}},
    "2": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0}},
    "3": {"class_type": "ImageUpscaleWithModel", "inputs": {"upscale_model": ["1", 0], "image": ["2", 0]}},
    "4": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "x"}},
}
OWN_GRAPHS = ("comfy api", "comfyui")
#: A request for the model in each dialect: path and body.
REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "openai": ("/v1/images/generations", {"model": MODEL, **SMALL}),
    "pixel factory": ("/api/v1/images/generations", {"model": MODEL, **SMALL}),
    "pixelapi": ("/v1/image/generate", {"model": MODEL, "prompt": "a cat", "width": 256, "height": 256}),
    "pixeldojo": ("/api/v1/models/flux-1-dev/run", {"prompt": "a cat"}),
    "pixazo": ("/flux-dev/v1/dev/textToImage", {"prompt": "a cat", "width": 256, "height": 256}),
    "replicate": ("/v1/models/pixel-factory/flux-1-dev/predictions", {"input": {"prompt": "a cat"}}),
    "fal": ("/fal/pixel-factory/flux-1-dev", {"prompt": "a cat"}),
    "fal's queue": ("/fal/queue/pixel-factory/flux-1-dev", {"prompt": "a cat"}),
    "a1111": ("/sdapi/v1/txt2img", {**SMALL_SIDES, "override_settings": {"sd_model_checkpoint": MODEL}}),
    "huggingface": ("/hf/pixel-factory/flux-1-dev", {"inputs": "a cat"}),
    "comfy router": ("/v2/models/black-forest-labs/flux-1-dev", {"prompt": "a cat"}),
    "comfy api": ("/api/v2/jobs", {"workflow": GRAPH}),
    "comfyui": ("/prompt", {"prompt": GRAPH}),
}


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    place = tmp_path_factory.mktemp("strict") / "data"
    environment = {"PIXELFACTORY_LICENSES": "strict"}
    with running(ServiceProcess(place, options=("--simulate", "1"), environment=environment)) as service:
        yield service


async def ask(
    service: ServiceProcess, key: str, dialect: str, model: str = MODEL
) -> tuple[int, dict[str, Any]]:
    path, body = REQUESTS[dialect]
    word = "Key" if dialect.startswith("fal") else "Bearer"
    headers = {"Authorization": f"{word} {key}", "Ocp-Apim-Subscription-Key": key}
    body = {**body, "model": model} if "model" in body else body
    async with (
        aiohttp.ClientSession(service.url, headers=headers) as http,
        http.post(path.replace(MODEL, model), json=body) as response,
    ):
        return response.status, await response.json()


@pytest.mark.parametrize("dialect", first_always(REQUESTS, always=6))
async def test_refuses_a_paid_request_in_the_shape_of_its_dialect(
    strict: ServiceProcess, dialect: str
) -> None:
    key = new_key(strict, scopes=["generate", "read", "graphs"])
    unknown = await ask(strict, "pk-unknown", dialect)
    status, body = await ask(strict, key, dialect)
    assert status == 403, body
    license = "CC-BY-NC-SA-4.0" if dialect in OWN_GRAPHS else "FLUX.1 [dev] Non-Commercial License"
    assert license in json.dumps(body)
    assert body.keys() == unknown[1].keys(), "the error has another shape than those of the dialect"


async def test_sells_other_models_and_says_every_license(strict: ServiceProcess) -> None:
    status, body = await ask(strict, new_key(strict), "openai", "flux-1-schnell")
    assert status == 200, body
    async with strict.client() as http:
        async with http.get("/v1/models") as response:
            listed = {row["id"]: row for row in (await response.json())["data"]}
        async with http.get(f"/v1/models/{MODEL}") as response:
            shown = await response.json()
    assert listed[MODEL]["license"] == shown["license"] == "FLUX.1 [dev] Non-Commercial License"
    assert (listed[MODEL]["license_use"], listed["flux-1-schnell"]["license_use"]) == (
        "non-commercial",
        "commercial",
    )


async def test_accepting_a_license_sells_the_model_at_once(strict: ServiceProcess) -> None:
    key = new_key(strict)
    refused = strict.command("licenses", "accept", MODEL, "--note", " ")
    assert "--note must say why" in refused.stderr
    nothing = strict.command("licenses", "accept", "flux-1-schnell", "--note", "x")
    assert "there is nothing to accept" in nothing.stderr
    accepted = strict.run("licenses", "accept", MODEL, "--note", "contract 7")
    assert (accepted["note"], accepted["licenses"]) == ("contract 7", ["FLUX.1 [dev] Non-Commercial License"])
    assert (await ask(strict, key, "openai"))[0] == 200
    rows = strict.run("licenses")
    assert rows[0]["use"] == "non-commercial"
    assert {row["accepted"] for row in rows if row["model"] == MODEL} == {"yes", None}
    headers = {"Authorization": f"Bearer {strict.admin_token}"}
    async with (
        aiohttp.ClientSession(strict.url, headers=headers) as http,
        http.get("/admin/v1/licenses") as response,
    ):
        report = await response.json()
    unaccepted = {row["model"] for row in report["models"] if row["unaccepted"]}
    assert report["mode"] == "strict"
    assert "flux-2-dev" in unaccepted
    assert MODEL not in unaccepted
    strict.run("licenses", "revoke", MODEL, "--note", "it has ended")
    assert (await ask(strict, key, "openai"))[0] == 403
    history = strict.run("licenses", "history")
    assert [row["action"] for row in history[-2:]] == ["accepted", "revoked"]
    assert all(row["by"] and row["at"] for row in history)


def test_start_names_the_models_in_one_line(strict: ServiceProcess, service: ServiceProcess) -> None:
    for one, outcome in ((strict, "are rejected"), (service, "they are offered nevertheless")):
        lines = [line for line in one.log.splitlines() if "may not be sold" in line]
        assert len(lines) == 1
        assert outcome in lines[0]
        assert "flux-2-dev" in lines[0]


def test_lists_what_each_license_allows(tmp_path: Path, strict: ServiceProcess) -> None:
    shown = strict.command("licenses").stdout
    assert "no paid service without a license of Black Forest Labs" in shown
    rows = strict.run("licenses", "list")
    limits = {row["revenue_limit_usd"] for row in rows if row["model"] == "sd-3.5-large"}
    assert limits == {1_000_000}
