"""PixelDojo: invalid requests get the codes and statuses of the document's table."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest

from tests.support.callers import new_key
from tests.support.early_response import post_zeros
from tests.support.images import base64_png
from tests.support.service import ServiceProcess

RUN = "/api/v1/models/flux-dev/run"
SMALL = {"prompt": "a cat", "width": 256, "height": 256}


async def rejection(response: aiohttp.ClientResponse) -> tuple[int, str]:
    error = (await response.json())["error"]
    assert error["message"]
    return response.status, error["code"]


IMAGE = base64_png(64, 64)
INVALID: list[tuple[str, str, dict[str, Any]]] = [
    ("no prompt", "flux-dev", {}),
    ("empty prompt", "flux-dev", {"prompt": " "}),
    ("prompt of the wrong type", "flux-dev", {"prompt": 7}),
    ("unknown aspect ratio", "flux-dev", {"prompt": "a", "aspect_ratio": "7:3"}),
    ("aspect ratio of the wrong type", "flux-dev", {"prompt": "a", "aspect_ratio": 1.5}),
    ("unknown resolution", "flux-dev", {"prompt": "a", "resolution": "large"}),
    ("resolution that is a time", "flux-dev", {"prompt": "a", "resolution": "5s"}),
    ("resolution too large", "flux-dev", {"prompt": "a", "resolution": "8K"}),
    ("resolution too small", "flux-dev", {"prompt": "a", "resolution": "8x8"}),
    ("width out of range", "flux-dev", {"prompt": "a", "width": 8}),
    ("too many results", "flux-dev", {"prompt": "a", "n": 5}),
    ("too long", "wan2.1-t2v-fast", {"prompt": "a", "duration": 60}),
    ("a duration of zero", "wan2.1-t2v-fast", {"prompt": "a", "duration": 0}),
    ("duration of the wrong type", "wan2.1-t2v-fast", {"prompt": "a", "duration": "5"}),
    ("a resolution of a thousand digits", "flux-dev", {"prompt": "a", "resolution": "9" * 1000 + " MP"}),
    ("a resolution of zero", "flux-dev", {"prompt": "a", "resolution": "0 MP"}),
    ("a frame rate out of range", "wan2.1-t2v-fast", {"prompt": "a", "duration": 0.0, "fps": 10**400}),
    ("a LoRA for a model without", "flux-schnell", {"prompt": "a", "lora_weights": "ink"}),
    ("a LoRA by URL", "flux-dev", {"prompt": "a", "lora_weights": "https://example.com/a.safetensors"}),
    ("a LoRA too strong", "flux-dev", {"prompt": "a", "lora_weights": "ink", "lora_scale": 9}),
    (
        "too few strengths",
        "flux-dev",
        {"prompt": "a", "lora_weights": ["ink", "gold"], "lora_scale": [1]},
    ),
    ("an image for a model that accepts none", "flux-schnell", {"prompt": "a", "image_url": IMAGE}),
    ("two different images", "flux-dev", {"prompt": "a", "image_url": IMAGE, "image": base64_png(32, 32)}),
    ("too many images", "flux-2-dev", {"prompt": "a", "reference_images": [IMAGE] * 20}),
    ("a strength without an image", "flux-dev", {"prompt": "a", "strength": 0.3}),
    ("a strength of a LoRA without a LoRA", "flux-dev", {"prompt": "a", "lora_scale": 0.3}),
    ("a misspelt parameter", "flux-dev", {"prompt": "a", "stpes": 3}),
    ("a parameter of another model", "flux-dev", {"prompt": "a", "num_frames": 81}),
    ("a size and another one", "flux-dev", {"prompt": "a", "width": 512, "resolution": "1024x1024"}),
    (
        "a size of another shape",
        "flux-dev",
        {"prompt": "a", "aspect_ratio": "1:1", "resolution": "1920x1080"},
    ),
    ("a length and another one", "wan2.1-t2v-fast", {"prompt": "a", "duration": 5, "num_frames": 17}),
    ("a length of an image", "flux-dev", {"prompt": "a", "duration": 5}),
    ("neither a prompt nor an image", "hunyuan-3d", {}),
    ("an image that is not one", "flux-2-dev", {"prompt": "a", "reference_images": ["!!!"]}),
    ("an image at a private address", "flux-2-dev", {"prompt": "a", "image_url": "http://10.0.0.1/a.png"}),
    ("an upscale without an image", "upscale-4x", {"prompt": ""}),
    ("webhook that is not a URL", "flux-dev", {"prompt": "a", "webhook_url": "example.com"}),
    ("webhook of another protocol", "flux-dev", {"prompt": "a", "webhook_url": "ftp://example.com/"}),
    ("webhook on this machine", "flux-dev", {"prompt": "a", "webhook_url": "http://localhost:1/"}),
    (
        "webhook at a metadata service",
        "flux-dev",
        {"prompt": "a", "webhook_url": "http://169.254.169.254/latest"},
    ),
    (
        "webhook with a lone surrogate",
        "flux-dev",
        {"prompt": "a", "webhook_url": "http://example.com/\ud800"},
    ),
    ("webhook of the wrong type", "flux-dev", {"prompt": "a", "webhook_url": 5}),
]


@pytest.mark.parametrize(("name", "model", "body"), INVALID, ids=[bad[0] for bad in INVALID])
async def test_rejects_invalid_input(
    service: ServiceProcess, key: str, name: str, model: str, body: dict[str, Any]
) -> None:
    async with service.client(key) as http:
        async with http.post(f"/api/v1/models/{model}/run", json=body) as response:
            assert await rejection(response) == (400, "validation_error")
        async with http.get("/api/v1/billing/balance") as response:
            assert (await response.json())["held_usd"] == 0


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"[" * 100_000, b'{"prompt": "\xff"}', b"prompt=a"])
async def test_rejects_a_body_that_is_no_json_object(service: ServiceProcess, key: str, body: bytes) -> None:
    async with service.client(key) as http, http.post(RUN, data=body) as response:
        assert await rejection(response) == (400, "invalid_json")


async def test_rejects_a_form(service: ServiceProcess, key: str) -> None:
    form = aiohttp.FormData(default_to_multipart=True)
    form.add_field("prompt", "a cat")
    async with service.client(key) as http, http.post(RUN, data=form) as response:
        assert await rejection(response) == (400, "invalid_json")


async def test_rejects_a_body_over_the_limit(service: ServiceProcess, key: str) -> None:
    response = await post_zeros(service.url + RUN, 97 * 2**20, {"Authorization": f"Bearer {key}"})
    assert (response.status, json.loads(response.body)["error"]["code"]) == (400, "validation_error")


async def test_rejects_unknown_models(service: ServiceProcess, key: str) -> None:
    """Proprietary models without a stand-in are unknown too."""
    async with service.client(key) as http:
        for model in ("dall-e-9", "flux-1.1-pro", "nano-banana-pro", "..%2Fflux-dev"):
            async with http.post(f"/api/v1/models/{model}/run", json=SMALL) as response:
                assert await rejection(response) == (404, "not_found")


async def test_rejects_wrong_keys(service: ServiceProcess) -> None:
    for client in (service.client(), service.client("pk-wrong")):
        async with client as http:
            for method, address in (
                ("POST", RUN),
                ("GET", "/api/v1/jobs"),
                ("GET", "/api/v1/jobs/job_abc123"),
            ):
                async with http.request(method, address, json=SMALL) as response:
                    assert await rejection(response) == (401, "unauthorized")


async def test_rejects_an_empty_wallet_and_a_missing_scope(service: ServiceProcess) -> None:
    async with service.client(new_key(service, None)) as http, http.post(RUN, json=SMALL) as response:
        assert await rejection(response) == (402, "insufficient_credits")
        error = (await response.json())["error"]
        assert (error["creditCost"], error["creditsRemaining"]) == (1, 0)
        assert "costs 1, but only 0 are available" in error["message"]
        assert not [name for name in error if name.endswith("_usd")]
    reader = new_key(service, scopes=["read"])
    async with service.client(reader) as http, http.post(RUN, json=SMALL) as response:
        assert await rejection(response) == (403, "insufficient_scope")


async def test_does_not_find_jobs_of_other_accounts(service: ServiceProcess, key: str) -> None:
    async with service.client(key) as http, http.post(RUN, json=SMALL) as response:
        job = (await response.json())["jobId"]
    requests = [("GET", ""), ("DELETE", ""), ("POST", "/webhook"), ("GET", "/events")]
    async with service.client(new_key(service)) as stranger:
        for method, rest in requests:
            async with stranger.request(method, f"/api/v1/jobs/{job}{rest}") as response:
                theirs = (response.status, await response.json())
            async with stranger.request(method, f"/api/v1/jobs/job_abc123{rest}") as response:
                assert (response.status, await response.json()) == theirs
            assert (theirs[0], theirs[1]["error"]["code"]) == (404, "not_found")


async def test_rejects_the_replay_of_a_webhook_that_does_not_exist(service: ServiceProcess, key: str) -> None:
    async with service.client(key) as http:
        async with http.post(RUN, json=SMALL) as response:
            job = (await response.json())["jobId"]
        async with http.post(f"/api/v1/jobs/{job}/webhook") as response:
            assert await rejection(response) == (400, "validation_error")


async def test_rejects_invalid_query_parameters(service: ServiceProcess, key: str) -> None:
    async with service.client(key) as http:
        for query in ("limit=0", "limit=x", "limit=1000", "cursor=job_abc123", "status=done"):
            async with http.get(f"/api/v1/jobs?{query}") as response:
                assert await rejection(response) == (400, "validation_error")


async def test_rejects_an_idempotency_key_of_another_request(service: ServiceProcess, key: str) -> None:
    headers = {"Idempotency-Key": "pixeldojo-1"}
    async with service.client(key) as http:
        jobs = set()
        for _ in range(2):
            async with http.post(RUN, json=SMALL, headers=headers) as response:
                jobs.add((await response.json())["jobId"])
        assert len(jobs) == 1
        async with http.post(RUN, json=SMALL | {"prompt": "a dog"}, headers=headers) as response:
            assert await rejection(response) == (409, "idempotency_conflict")


async def test_rejects_what_the_content_policy_forbids(offering: ServiceProcess) -> None:
    async with offering.client(new_key(offering)) as http:
        async with http.post(RUN, json=SMALL | {"prompt": "an ogre"}) as response:
            assert await rejection(response) == (400, "validation_error")
        async with http.get("/api/v1/jobs") as response:
            assert (await response.json())["jobs"] == []
