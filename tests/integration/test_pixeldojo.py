"""PixelDojo: what its documents state beyond their examples."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import aiohttp
import pytest

from orchestrator.web.dialects.pixeldojo import schemas as answers
from orchestrator.web.jobs.schemas import JobListResponse
from tests.support.callers import new_key, set_back, wait_for_status
from tests.support.images import base64_png, size_of
from tests.support.polling import poll
from tests.support.service import ServiceProcess
from tests.support.webhook_receiver import receiving

SMALL = {"prompt": "a cat", "width": 256, "height": 256}


def path(model: str) -> str:
    return f"/api/v1/models/{model}/run"


async def run(http: aiohttp.ClientSession, model: str, **fields: Any) -> dict[str, Any]:
    async with http.post(path(model), json=fields) as response:
        assert response.status == 200, await response.text()
        assert response.headers["X-PixelFactory-Job"]
        body = dict(await response.json())
    answers.RunModelResponse.model_validate(body, strict=True)
    return body


async def get(http: aiohttp.ClientSession, address: str) -> Any:
    async with http.get(address) as response:
        assert response.status == 200, await response.text()
        return await response.json()


async def refusal(http: aiohttp.ClientSession, method: str, address: str, **sent: Any) -> tuple[int, str]:
    """Return status and code of an error; it must have the dialect's format."""
    async with http.request(method, address, **sent) as response:
        error = (await response.json())["error"]
        assert error["message"]
        return response.status, error["code"]


COSTS = [
    ("flux-dev", SMALL, 1),
    ("flux-dev", SMALL | {"n": 3}, 3),
    ("flux-2-klein-4b", SMALL, 0.1),
    ("z-image-turbo", SMALL, 0.5),
    ("flux-2-lora", {"prompt": "a", "resolution": "1 MP", "aspect_ratio": "16:9"}, 1),
    ("flux-2-lora", {"prompt": "a", "resolution": "4 MP"}, 2),
    ("wan-2.6-flash", {"prompt": "a", "resolution": "480p", "duration": 3}, 3),
    ("wan-2.6-flash", {"prompt": "a", "duration": 2.5, "aspect_ratio": "9:16"}, 2.5),
    ("sdxl-1.0", SMALL, 1),  # not in PixelDojo's list: the default price of a cent
]


@pytest.mark.slow
@pytest.mark.parametrize(("model", "body", "credits"), COSTS)
async def test_charges_credits_by_image_resolution_and_second(
    offering: ServiceProcess, model: str, body: dict[str, Any], credits: float
) -> None:
    async with offering.client(new_key(offering, "1.00")) as http:
        made = await run(http, model, **body)
        assert made["creditCost"] == credits
        assert made["creditsRemaining"] == 100 - credits
        seen = await wait_for_status(http, f"/api/v1/jobs/{made['jobId']}", "completed")
        assert seen["creditCost"] == credits


async def test_applies_aspect_ratio_resolution_and_duration(offering: ServiceProcess) -> None:
    async with offering.client(new_key(offering)) as http:
        picture = await run(http, "flux-dev", prompt="a", aspect_ratio="9:16", resolution="0.5 MP")
        film = await run(http, "wan2.1-t2v-fast", prompt="a", aspect_ratio="1:1", duration=1)
        seen = await wait_for_status(http, f"/api/v1/jobs/{picture['jobId']}", "completed")
        (asset,) = seen["assets"]
        assert (asset["width"], asset["height"]) == (504, 896)
        assert asset["url"] == seen["output"]["images"][0]
        seen = await wait_for_status(http, f"/api/v1/jobs/{film['jobId']}", "completed")
        (asset,) = seen["assets"]
        assert (asset["width"], asset["height"], seen["params"]["num_frames"]) == (624, 624, 16)
        assert asset["url"] == seen["output"]["videos"][0]


async def test_applies_loras_and_reference_images(offering: ServiceProcess) -> None:
    async with offering.client(new_key(offering)) as http:
        made = await run(http, "flux-dev", **SMALL, lora_weights=["ink", "gold"], lora_scale=[0.5, 1])
        seen = await get(http, f"/api/v1/jobs/{made['jobId']}")
        assert seen["params"]["loras"] == [
            {"name": "ink", "strength": 0.5},
            {"name": "gold", "strength": 1.0},
        ]
        pictures = [base64_png(64, 64), base64_png(96, 64)]
        made = await run(http, "flux-2-dev", **SMALL, reference_images=pictures)
        assert (await wait_for_status(http, f"/api/v1/jobs/{made['jobId']}", "completed"))["output"]["images"]
        made = await run(http, "upscale-4x", prompt="", image_url=base64_png(64, 48))
        seen = await wait_for_status(http, f"/api/v1/jobs/{made['jobId']}", "completed")
        async with aiohttp.ClientSession() as http, http.get(seen["assets"][0]["url"]) as response:
            assert size_of(await response.read()) == (256, 192)


DOCUMENTED_EDITORS = ["flux-dev", "flux-krea-dev", "flux-dev-multi-lora"]


@pytest.mark.parametrize("model", DOCUMENTED_EDITORS)
async def test_documented_editors_take_an_image_and_loras(offering: ServiceProcess, model: str) -> None:
    async with offering.client(new_key(offering)) as http:
        fields = {"prompt": "a", "seed": 1, "steps": 2, "width": 256, "height": 256}
        made = await run(
            http, model, **fields, image_url=base64_png(320, 256), strength=0.4, lora_weights=["ink", "gold"]
        )
        seen = await wait_for_status(http, f"/api/v1/jobs/{made['jobId']}", "completed")
        assert (seen["params"]["strength"], len(seen["params"]["loras"])) == (0.4, 2)
        plain = await run(http, model, **fields, lora_weights=["ink", "gold"])
        other = await wait_for_status(http, f"/api/v1/jobs/{plain['jobId']}", "completed")
    assert await download(seen) != await download(other)


async def test_a_result_follows_the_image_unless_a_size_is_asked_for(offering: ServiceProcess) -> None:
    async with offering.client(new_key(offering)) as http:
        for fields, wide in (({}, True), ({"resolution": "256x320"}, False), ({"aspect_ratio": "1:2"}, None)):
            body = {"prompt": "a", "image": base64_png(640, 256), "steps": 1} | fields
            async with http.post(path("flux-dev"), json=body) as response:
                if wide is None:
                    assert (await response.json())["error"]["param"] == "aspect_ratio"
                    continue
                job = (await response.json())["jobId"]
            (asset,) = (await wait_for_status(http, f"/api/v1/jobs/{job}", "completed"))["assets"]
            if wide:
                assert asset["width"] / asset["height"] == pytest.approx(2.5, rel=0.05)
            else:
                assert (asset["width"], asset["height"]) == (256, 320)


async def test_a_name_of_several_models_serves_text_and_images(offering: ServiceProcess) -> None:
    async with offering.client(new_key(offering)) as http:
        schema = (await get(http, "/api/v1/models/nano-banana-pro/schema"))["schema"]
        assert schema == (await get(http, "/api/v1/models/nano-banana-pro"))["requestSchema"]
        assert "reference_images" in schema["properties"]
        for images in ([], [base64_png(64, 64)]):
            made = await run(http, "nano-banana-pro", **SMALL, steps=1, reference_images=images)
            assert made["creditCost"] == 3
            seen = await wait_for_status(http, f"/api/v1/jobs/{made['jobId']}", "completed")
            assert seen["model"] == "nano-banana-pro"
            assert (seen["assets"][0]["width"], seen["assets"][0]["height"]) == (256, 256)


async def test_wan_image_takes_loras(offering: ServiceProcess) -> None:
    async with offering.client(new_key(offering)) as http:
        made = await run(http, "wan-image", **SMALL, steps=2, lora_weights="ink", lora_scale=0.5)
        seen = await wait_for_status(http, f"/api/v1/jobs/{made['jobId']}", "completed")
        assert seen["params"]["loras"] == [{"name": "ink", "strength": 0.5}]


async def test_hunyuan_3d_makes_a_mesh_of_a_prompt_or_an_image(offering: ServiceProcess) -> None:
    async with offering.client(new_key(offering)) as http:
        drawn = await run(http, "hunyuan-3d", prompt="a teapot", steps=1)
        seen = await run(http, "hunyuan-3d", prompt="a teapot", image=base64_png(64, 64), steps=1)
        for made, warnings in (
            (drawn, []),
            (seen, ["`prompt` has no effect: `image` takes its place"]),
        ):
            job = await wait_for_status(http, f"/api/v1/jobs/{made['jobId']}", "completed")
            assert (await download(job, "files")).startswith(b"glTF")
            assert job["warnings"] == warnings
        assert await refusal(http, "POST", path("hunyuan-3d"), json={"steps": 1}) == (400, "validation_error")


async def test_a_resolution_may_be_a_size(offering: ServiceProcess) -> None:
    async with offering.client(new_key(offering)) as http:
        made = await run(http, "flux-dev", prompt="a", resolution="1920x1080", steps=1)
        (asset,) = (await wait_for_status(http, f"/api/v1/jobs/{made['jobId']}", "completed"))["assets"]
        assert (asset["width"], asset["height"]) == (1920, 1080)


async def download(job: dict[str, Any], group: str = "images") -> bytes:
    async with aiohttp.ClientSession() as http, http.get(job["output"][group][0]) as response:
        return await response.read()


async def test_lists_jobs_by_cursor(offering: ServiceProcess) -> None:
    async with offering.client(new_key(offering)) as http:
        made = [(await run(http, "flux-dev", **SMALL))["jobId"] for _ in range(3)]
        first = await get(http, "/api/v1/jobs?limit=2")
        JobListResponse.model_validate_json(json.dumps(first), strict=True)
        second = await get(http, f"/api/v1/jobs?limit=2&cursor={first['nextCursor']}")
        assert [job["jobId"] for job in first["jobs"] + second["jobs"]] == made[::-1]
        assert second["nextCursor"] is None


async def test_a_failed_webhook_can_be_sent_again(offering: ServiceProcess) -> None:
    async with receiving(500) as receiver, offering.client(new_key(offering)) as http:
        made = await run(http, "flux-dev", **SMALL, webhook_url=receiver.url)
        job = f"/api/v1/jobs/{made['jobId']}"
        await receiver.next()
        await poll(lambda: get(http, job), lambda found: found["webhook"]["attempts"] == 1)
        async with http.post(f"{job}/webhook") as response:
            replay = answers.WebhookReplayResponse.model_validate_json(await response.read(), strict=True)
        assert replay.webhook is not None
        assert (replay.webhook.status, replay.webhook.attempts) == ("pending", 1)
        assert [attempt.error for attempt in replay.webhook.history or ()] == ["HTTP 500"]
        delivery = await receiver.next()
        assert delivery.data["jobId"] == made["jobId"]
        assert delivery.data["output"]["images"]
        await until_delivered(http, job)


async def until_delivered(http: aiohttp.ClientSession, job: str) -> None:
    await poll(lambda: get(http, job), lambda found: found["webhook"]["status"] == "delivered")


async def test_calls_the_webhook_of_a_cancelled_job(offering: ServiceProcess) -> None:
    async with receiving() as receiver, offering.client(new_key(offering)) as http:
        made = await run(http, "wan-2.6-flash", prompt="a", duration=5, webhook_url=receiver.url)
        async with http.delete(f"/api/v1/jobs/{made['jobId']}") as response:
            ended = (await response.json())["status"]
        assert (await receiver.next()).data["status"] == ended


async def test_reports_an_expired_job_as_expired(offering: ServiceProcess) -> None:
    async with offering.client(new_key(offering)) as http:
        made = await run(http, "flux-dev", **SMALL)
        address = f"/api/v1/jobs/{made['jobId']}"
        seen = await wait_for_status(http, address, "completed")
        kept = datetime.fromisoformat(seen["expiresAt"]) - datetime.fromisoformat(seen["finishedAt"])
        assert kept.total_seconds() == pytest.approx(7 * 86400, abs=1)
        set_back(offering, made["jobId"], timedelta(days=8))
        assert await refusal(http, "GET", address) == (410, "expired")
        assert await refusal(http, "POST", f"{address}/webhook") == (410, "expired")


async def test_limits_requests_to_sixty_a_minute(offering: ServiceProcess) -> None:
    async with offering.client(new_key(offering, plan="pixeldojo")) as http:
        for _ in range(60):
            await get(http, "/api/v1/jobs?limit=1")
        assert await refusal(http, "POST", path("flux-dev"), json=SMALL) == (429, "rate_limit_exceeded")


async def test_lists_models_with_the_fields_of_all_clients(offering: ServiceProcess) -> None:
    async with offering.client() as http:
        listed = await get(http, "/api/v1/models")
        # The names of PixelAPI's document follow there.
        assert (await get(http, "/v1/models"))["data"][: len(listed["data"])] == listed["data"]
        models = {model["id"]: model for model in listed["data"]}
        flux = models["flux-2-dev"]
        assert flux["object"] == "model"
        assert {name: flux[name] for name in ("apiId", "modality", "features", "credits")} == {
            "apiId": "flux-2-dev",
            "modality": "image",
            "features": ["LoRA", "Editing"],
            "credits": 10.0,  # not in PixelAPI's list: a cent; a credit is a tenth of one
        }
        assert flux["creditCost"] == {"default": 1, "type": "fixed", "amount": 1}
        assert models["sdxl-1.0"]["credits"] == 1.0
        assert models["wan2.2-t2v-14b"]["creditCost"] == {
            "default": 1,
            "type": "per_second",
            "amount": 1,
            # The list has a price for 1080p, too, which this model does not make.
            "byResolution": {"720p": 1},
        }


async def test_describes_the_parameters_of_a_model(offering: ServiceProcess) -> None:
    async with offering.client() as http:
        one = await get(http, "/api/v1/models/flux-2-lora")
        schema = await get(http, "/api/v1/models/flux-2-lora/schema")
        answers.RunSchemaResponse.model_validate(schema, strict=True)
        assert schema["schema"] == one["requestSchema"]
        assert {"prompt", "aspect_ratio", "reference_images", "lora_weights", "webhook_url", "seed"} <= set(
            one["parameters"]
        )
        assert schema["schema"]["required"] == ["prompt"]
        assert await refusal(http, "GET", "/api/v1/models/dall-e-9/schema") == (404, "not_found")


async def test_openapi_document_is_served_at_pixeldojos_path(offering: ServiceProcess) -> None:
    async with offering.client() as http:
        document = await get(http, "/api/openapi")
    assert "/api/v1/models/{id}/run" in document["paths"]
