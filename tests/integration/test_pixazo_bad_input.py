"""Pixazo's gateway: what callers get wrong, in the phrases of its document where that has some."""

from __future__ import annotations

import base64
import json
from typing import Any
from uuid import UUID

import aiohttp
import pytest

from tests.integration.test_pixazo import (
    BATCH,
    CHECK,
    DEV,
    EDIT,
    FILL,
    KLEIN,
    PRO,
    PRO_EDIT,
    PRO_TEXT,
    RESTORE,
    SCHNELL,
    SMALL,
    TEXT,
    TRAIN,
    TRAIN_EDITS,
    ULTRA,
    client,
    mask,
    picture,
)
from tests.support.callers import new_key
from tests.support.early_response import post_zeros
from tests.support.images import base64_png
from tests.support.repeats import first_always
from tests.support.service import ServiceProcess

RESTORED = {"input_image": "https://example.com/old.png"}
FILLED = {"prompt": "a", "image": picture(), "mask": mask(64, 64)}
#: Path, body and beginning of the error message.
INVALID: list[tuple[str, Any, str]] = [
    (RESTORE, {}, "input_image is required and must be a string URL"),
    (RESTORE, {"input_image": None}, "input_image is required and must be a string URL"),
    (RESTORE, {"input_image": 7}, "input_image is required and must be a string URL"),
    (RESTORE, {"input_image": "old.png"}, "input_image must be a valid URL"),
    (RESTORE, RESTORED | {"output_format": "webp"}, "output_format must be one of: jpg, png"),
    (RESTORE, RESTORED | {"safety_tolerance": 3}, "safety_tolerance must be an integer in [0, 2]"),
    (RESTORE, RESTORED | {"safety_tolerance": "2"}, "safety_tolerance must be an integer in [0, 2]"),
    (RESTORE, RESTORED | {"seed": -1}, "seed must be a non-negative integer"),
    (RESTORE, RESTORED | {"seed": 1.5}, "seed must be a non-negative integer"),
    (RESTORE, RESTORED | {"webhook": "somewhere"}, "Invalid webhook URL"),
    (RESTORE, RESTORED | {"webhook": 7}, "Invalid webhook URL"),
    (RESTORE, RESTORED | {"webhook": "http://10.0.0.1/"}, "Invalid webhook URL"),
    (
        RESTORE,
        RESTORED | {"webhook_events_filter": ["completed", "started"]},
        "webhook_events_filter must be a non-empty array of completed, failed",
    ),
    (
        RESTORE,
        RESTORED | {"webhook_events_filter": []},
        "webhook_events_filter must be a non-empty array of completed, failed",
    ),
    (DEV, {}, "prompt is required and must be a string"),
    (DEV, {"prompt": 7}, "prompt is required and must be a string"),
    (DEV, {"prompt": " "}, "prompt is required"),
    (DEV, SMALL | {"image_size": "wide"}, "image_size must be one of: square_hd, square, portrait_4_3"),
    (DEV, SMALL | {"num_images": 0}, "num_images must be a positive integer"),
    (DEV, SMALL | {"num_images": True}, "num_images must be a positive integer"),
    (DEV, SMALL | {"num_inference_steps": 151}, "num_inference_steps must be between 1 and 150"),
    (DEV, SMALL | {"num_inference_steps": 0}, "num_inference_steps must be a positive integer"),
    (DEV, SMALL | {"guidance_scale": "3"}, "guidance_scale must be a non-negative number"),
    (DEV, SMALL | {"guidance_scale": 101}, "guidance_scale must be between 0 and 100"),
    (DEV, SMALL | {"enable_safety_checker": "no"}, "enable_safety_checker must be a boolean"),
    (DEV, SMALL | {"output_format": "webp"}, "output_format must be one of: jpeg, png"),
    (DEV, SMALL | {"acceleration": "ludicrous"}, "acceleration must be one of: none, regular, high"),
    (EDIT, {"prompt": "a"}, "image_url is required and must be a string URL"),
    (EDIT, {"prompt": "a", "image_url": picture(), "strength": 2}, "strength must be between 0.01 and 1"),
    (EDIT, {"prompt": "a", "image_url": "data:,hello"}, "image_url must be one of"),
    (EDIT, {"prompt": "a", "image_url": "http://169.254.169.254/"}, "image_url cannot be fetched"),
    (FILL, FILLED | {"mask": mask(32, 64)}, "mask must be as large as image"),
    (FILL, {"prompt": "a", "image": picture()}, "mask is required and must be a string URL"),
    (FILL, FILLED | {"num_outputs": 5}, "num_outputs must be an integer in [1, 4]"),
    (FILL, FILLED | {"megapixels": "4"}, "megapixels must be one of: 0.25, 1, match_input"),
    (FILL, FILLED | {"megapixels": 1}, "megapixels must be one of: 0.25, 1, match_input"),
    (FILL, FILLED | {"output_quality": 101}, "output_quality must be an integer in [0, 100]"),
    (FILL, FILLED | {"guidance": 101}, "guidance must be between 0 and 100"),
    (FILL, FILLED | {"num_inference_steps": 151}, "num_inference_steps must be between 1 and 150"),
    (KLEIN, {"prompt": "a", "width": 768}, "width must be one of: 512, 1024, 1448, 2048"),
    (KLEIN, {"prompt": "a", "steps": 0}, "steps must be a positive integer"),
    (TEXT, {"prompt": "a", "width": 0}, "width must be a positive integer"),
    (TEXT, {"prompt": "a", "width": 15}, "width must be between 16 and 2048"),
    (TEXT, {"prompt": "a", "width": 1021}, "width must be a multiple of 8 (got 1021); the nearest sizes are"),
    (TEXT, {"prompt": "a", "width": "1024"}, "width must be a positive integer"),
    (SCHNELL, {"prompt": "a", "num_steps": 9}, "num_steps must be an integer in [1, 8]"),
    (SCHNELL, {"prompt": "a", "seed": 2**64}, "seed must be between 0 and 2^64 - 1"),
    (SCHNELL, {"prompt": "a", "height": 9999}, "height must be between 16 and 2048"),
    (BATCH, {"prompt": "a", "webhook_url": "somewhere"}, "Invalid webhook URL"),
    (DEV, SMALL | {"stpes": 3}, "stpes is not a parameter of this endpoint"),
    (SCHNELL, {"prompt": "a", "image_url": picture()}, "image_url is not a parameter of this endpoint"),
    (KLEIN, {"prompt": "a", "num_images": 2}, "num_images is not a parameter of this endpoint"),
    (DEV, SMALL | {"num_inference_steps": 9, "steps": 8}, "num_inference_steps and steps set the same"),
    (CHECK, {"requestId": "x", "requestid": "y"}, "requestid is not a parameter of this endpoint"),
    (CHECK, {}, "requestId is required and must be a string"),
    (CHECK, {"requestId": 7}, "requestId is required and must be a string"),
]
PROPRIETARY: list[tuple[str, Any, str]] = [
    (TRAIN, {}, "image_data_url is required and must be a string URL"),
    (TRAIN, {"image_data_url": "dataset.zip"}, "image_data_url must be a valid URL"),
    (TRAIN, {"image_data_url": "data:,hello"}, "image_data_url must be"),
    (TRAIN, {"image_data_url": picture(), "steps": 10_000}, "steps must be between 1 and 6000"),
    (TRAIN, {"image_data_url": picture(), "learning_rate": 2}, "learning_rate must be between"),
    (ULTRA, {"prompt": "a", "aspect_ratio": "5:4"}, "aspect_ratio must be one of: 21:9, 16:9"),
    (ULTRA, {"prompt": "a", "safety_tolerance": "7"}, "safety_tolerance must be one of: 1, 2, 3, 4, 5, 6"),
    (ULTRA, {"prompt": "a", "sync_mode": 1}, "sync_mode must be a boolean"),
    (ULTRA, {"prompt": "a", "enhance_prompt": True}, "enhance_prompt must be false: no model here rewrites"),
    (ULTRA, {"prompt": "a", "enhance_prompt": "no"}, "enhance_prompt must be one of: false"),
    (ULTRA, {"prompt": "a", "raw": True, "guidance_scale": 9}, "guidance_scale"),
    (PRO_TEXT, {"prompt": "a", "image_size": "square"}, "image_size must be one of: portrait_4_5"),
    (PRO_TEXT, {"prompt": "a", "safety_tolerance": 5}, "safety_tolerance must be an integer in [1, 4]"),
    (PRO_EDIT, {"prompt": "a"}, "image_urls is required and must be a non-empty array of URLs"),
    (PRO_EDIT, {"prompt": "a", "image_urls": []}, "image_urls must be a non-empty array of URLs"),
    (PRO_EDIT, {"prompt": "a", "image_urls": ["x"]}, "image_urls must be a non-empty array of URLs"),
    (
        PRO_EDIT,
        {"prompt": "a", "image_urls": [picture()], "image_size": "large"},
        "image_size must be WIDTHxHEIGHT",
    ),
    (
        PRO_EDIT,
        {"prompt": "a", "image_urls": [picture()], "image_size": "8x64"},
        "image_size: width must be between 16 and 2048",
    ),
    (PRO, {"prompt": "a", "num_inference_steps": 151}, "num_inference_steps must be between 1 and 150"),
]


#: Files of other formats by name.
WRONG_FILES = {
    "bmp": b"BM" + bytes(60),
    "tiff": b"II*\x00" + bytes(60),
    "mp4": bytes(4) + b"ftypisom" + bytes(60),
    "empty": b"",
    "text": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "truncated": base64.b64decode(base64_png(64, 64))[:60],
}
IMAGE_FIELDS: list[tuple[str, str, dict[str, Any]]] = [
    (RESTORE, "input_image", {}),
    (EDIT, "image_url", {"prompt": "a"}),
    (FILL, "image", FILLED),
    (FILL, "mask", FILLED),
]


@pytest.mark.parametrize("format", first_always(WRONG_FILES, always=2))
async def test_rejects_files_of_other_formats_by_the_name_of_their_field(
    service: ServiceProcess, key: str, format: str
) -> None:
    text = base64.b64encode(WRONG_FILES[format]).decode()
    async with client(service, key) as http:
        for path, name, fields in IMAGE_FIELDS:
            for given in (f"data:image/png;base64,{text}", text):
                status, error = await rejection(http, path, json=fields | {name: given})
                assert status == 400
                assert error.startswith((f"{name} must be ", f"{name} cannot be read", f"{name} is empty"))


async def rejection(http: aiohttp.ClientSession, path: str, **sent: Any) -> tuple[int, str]:
    """Return status and title of an error; it must have the gateway's format."""
    async with http.post(path, **sent) as response:
        body = await response.json()
    assert set(body) <= {"error", "message"}, body
    return response.status, body["error"]


def ids(value: object) -> str:
    return value[:60] if isinstance(value, str) else ""


@pytest.mark.parametrize(("path", "body", "reason"), INVALID, ids=ids)
async def test_rejects_an_invalid_body(
    service: ServiceProcess, key: str, path: str, body: Any, reason: str
) -> None:
    async with client(service, key) as http:
        status, error = await rejection(http, path, json=body)
        assert (status, error[: len(reason)]) == (400, reason)


@pytest.mark.parametrize(("path", "body", "reason"), PROPRIETARY, ids=ids)
async def test_rejects_an_invalid_body_for_a_stand_in(
    offering: ServiceProcess, path: str, body: Any, reason: str
) -> None:
    async with client(offering, new_key(offering)) as http:
        status, error = await rejection(http, path, json=body)
        assert (status, error[: len(reason)]) == (400, reason)


async def test_rejects_an_invalid_webhook_url(service: ServiceProcess, key: str) -> None:
    async with client(service, key) as http:
        for url in (
            "somewhere",
            "ftp://example.com/",
            "http://127.0.0.1/",
            "data:,x",
            "http://a.b/" + "x" * 2000,
        ):
            headers = {"X-Webhook-URL": url}
            assert await rejection(http, DEV, json=SMALL, headers=headers) == (400, "Invalid webhook URL")


@pytest.mark.parametrize("path", [DEV, SCHNELL, BATCH, CHECK])
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"[" * 100_000, b'{"prompt": "\xff"}', b"prompt=a"])
async def test_rejects_a_body_that_is_no_json_object(
    service: ServiceProcess, key: str, path: str, body: bytes
) -> None:
    async with client(service, key) as http:
        status, error = await rejection(http, path, data=body)
        assert (status, error[:16]) == (400, "The request body")


async def test_rejects_a_form(service: ServiceProcess, key: str) -> None:
    form = aiohttp.FormData(default_to_multipart=True)
    form.add_field("prompt", "a cat")
    async with client(service, key) as http:
        assert await rejection(http, DEV, data=form) == (400, "The request body must be JSON, not a form")


async def test_rejects_numbers_that_are_not_finite(service: ServiceProcess, key: str) -> None:
    async with client(service, key) as http:
        for number in ("NaN", "Infinity", "1e999", "9" * 400):
            body = f'{{"prompt": "a", "guidance_scale": {number}}}'.encode()
            status, error = await rejection(http, DEV, data=body)
            assert (status, error[:14]) == (400, "guidance_scale")


async def test_rejects_a_body_over_the_limit(service: ServiceProcess, key: str) -> None:
    response = await post_zeros(service.url + DEV, 97 * 2**20, {"Ocp-Apim-Subscription-Key": key})
    error = json.loads(response.body)["error"]
    assert (response.status, error) == (400, "The request body is larger than the limit of 96 MiB")


@pytest.mark.parametrize(
    ("path", "id"),
    [
        (PRO_EDIT, "flux-2-pro-image-to-image-866"),
        (PRO_TEXT, "flux-2-pro-text-to-image-799"),
        (ULTRA, "flux-pro-1-1"),
        (PRO, "flux-pro"),
        (TRAIN, "flux-2-pro-text-to-image-trainer-712"),
        (TRAIN_EDITS, "flux-2-pro-image-to-image-trainer-831"),
    ],
)
async def test_rejects_models_without_a_stand_in(
    service: ServiceProcess, key: str, path: str, id: str
) -> None:
    """The shipped table enables no stand-in; the error is the same for any body."""
    async with client(service, key) as http:
        for body in ({"prompt": "a"}, {}):
            async with http.post(path, json=body) as response:
                assert response.status == 400
                assert await response.json() == {
                    "error": "Model not found",
                    "message": f"Model '{id}' not found or is disabled",
                }


async def test_rejects_wrong_keys(service: ServiceProcess) -> None:
    """The headers of the gateway take precedence over a bearer token."""
    wrong: list[dict[str, str]] = [
        {},
        {"Ocp-Apim-Subscription-Key": "pk-wrong"},
        {"X-Secret-Key": "pk-wrong"},
        {"Authorization": "Bearer pk-wrong"},
    ]
    for headers in wrong:
        async with aiohttp.ClientSession(service.url, headers=headers) as http:
            for path in (DEV, SCHNELL, BATCH, CHECK):
                assert await rejection(http, path, json=SMALL) == (401, "Unauthorized")
            async with http.get("/v2/requests/status/flux-dev_1") as response:
                assert (response.status, (await response.json())["error"]) == (401, "Unauthorized")


async def test_rejects_keys_without_the_scope_or_model(service: ServiceProcess) -> None:
    async with client(service, new_key(service, scopes=["read"])) as http:
        assert await rejection(http, DEV, json=SMALL) == (403, "Forbidden")
    async with client(service, new_key(service, models=["sdxl-1.0"])) as http:
        assert await rejection(http, DEV, json=SMALL) == (403, "Forbidden")


async def test_limits_the_request_rate(service: ServiceProcess) -> None:
    async with client(service, new_key(service, None, plan="free")) as http:
        for _ in range(20):
            assert (await rejection(http, DEV, json={}))[0] == 400
        async with http.post(DEV, json=SMALL) as response:
            assert (response.status, (await response.json())["error"]) == (429, "Too Many Requests")
            assert int(response.headers["Retry-After"]) > 0
            assert response.headers["X-RateLimit-Remaining"] == "0"


async def test_reports_unknown_and_other_accounts_requests_alike(service: ServiceProcess, key: str) -> None:
    async with client(service, key) as http:
        async with http.post(DEV, json=SMALL) as response:
            queued = (await response.json())["request_id"]
        async with http.post(BATCH, json={"prompt": "a", "width": 256, "height": 256}) as response:
            batched = (await response.json())["requestId"]
        theirs = {"Authorization": f"Bearer {key}"}
        run = "/api/v1/models/flux-dev/run"
        async with http.post(run, json={"prompt": "a"}, headers=theirs) as response:
            other = str(UUID((await response.json())["jobId"].removeprefix("job_")))
        uuid = queued.partition("_")[2]
        unknown = [queued.replace("dev", "pro"), f"flux-1-schnell_{uuid}", f"flux-dev_{batched}", uuid, "x"]
        told = [await status(http, id) for id in (*unknown, f"flux-dev_{uuid.upper()}", "flux-dev_", "%00")]
        told += [await status(http, f"flux-dev_{other}"), await check(http, other)]
        told += [await check(http, id) for id in (uuid, queued, f"job_{uuid}", "", "\u0000")]
    async with client(service, new_key(service)) as stranger:
        told += [await status(stranger, queued), await check(stranger, batched)]
    missing = (404, {"error": "Not Found", "message": "The account has no request with this id"})
    assert told == [missing] * len(told)


async def status(http: aiohttp.ClientSession, id: str) -> tuple[int, Any]:
    async with http.get(f"/v2/requests/status/{id}") as response:
        return response.status, await response.json()


async def check(http: aiohttp.ClientSession, id: str) -> tuple[int, Any]:
    async with http.post(CHECK, json={"requestId": id}) as response:
        return response.status, await response.json()


async def test_reports_unknown_paths_in_the_gateways_format(service: ServiceProcess, key: str) -> None:
    async with client(service, key) as http:
        for path in ("/flux-9/v1/generate", "/flux-dev/v1/dev/nothing", "/generateT2I/x", "/v2/nothing"):
            assert await rejection(http, path, json=SMALL) == (404, "Not Found")
        async with http.get(DEV) as response:
            assert (response.status, (await response.json())["error"]) == (405, "Method Not Allowed")
        async with http.get("/nothing/v2") as response:
            assert "code" in (await response.json())["error"]  # not a path of the gateway
