"""Pixazo's gateway: what its document states beyond its examples."""

from __future__ import annotations

import base64
import io
import json
import re
from datetime import datetime, timedelta
from time import time
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from PIL import ExifTags, Image

from orchestrator.web.dialects.pixazo import schemas as answers
from tests.support.callers import new_key, set_back, wait_for_status
from tests.support.datasets import data_url, is_trained, zipped
from tests.support.images import base64_png, size_of
from tests.support.repeats import first_always
from tests.support.service import ServiceProcess
from tests.support.webhook_receiver import ReceivedWebhook, receiving

DEV = "/flux-dev/v1/dev/textToImage"
EDIT = "/flux-dev/v1/dev/imageToImage"
FILL = "/flux-fill-dev/v1/flux-fill/generate"
RESTORE = "/flux-kontext-restore-image/v1/flux-kontext-restore-image/generate"
KLEIN = "/flux-2-klein-4b/v1/generateImage"
SCHNELL = "/flux-1-schnell/v1/getData"
BATCH = "/flux-1-schnell/v1/getDataBatch"
CHECK = "/flux-1-schnell/v1/checkStatus"
ULTRA = "/pro1.1/v1/pro1.1ultra/generateRequest"
PRO_TEXT = "/flux-2-pro-text-to-image-799/v1/flux-2-pro-text-to-image-request"
PRO_EDIT = "/flux-2-pro-image-to-image-866/v1/flux-2-pro-image-to-image-request"
PRO = "/flux-pro/v1/pro/textToImage"
TRAIN = "/flux-2-pro-text-to-image-trainer-712/v1/flux-2-pro-text-to-image-trainer-request"
TRAIN_EDITS = "/flux-2-pro-image-to-image-trainer-831/v1/flux-2-pro-image-to-image-trainer-request"
TEXT = "/generateT2I"
SMALL = {"prompt": "a cat", "image_size": "square"}


def picture(width: int = 64, height: int = 64) -> str:
    return f"data:image/png;base64,{base64_png(width, height)}"


def mask(width: int, height: int) -> str:
    """Return a mask whose left half is to be changed."""
    sheet = Image.new("L", (width, height), 0)
    sheet.paste(255, (0, 0, width // 2, height))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def client(service: ServiceProcess, key: str) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(service.url, headers={"Ocp-Apim-Subscription-Key": key})


async def queue(http: aiohttp.ClientSession, path: str, **sent: Any) -> dict[str, Any]:
    """Submit a request whose body has these fields, and return the response; `headers` are sent as such."""
    headers = sent.pop("headers", {})
    async with http.post(path, json=sent, headers=headers) as response:
        assert response.status == 202, await response.text()
        assert response.headers["X-PixelFactory-Job"]
        body = dict(await response.json())
    answers.PixazoQueuedResponse.model_validate(body, strict=True)
    return body


async def made(http: aiohttp.ClientSession, path: str, **fields: Any) -> dict[str, Any]:
    """Submit a request and return its state when it has succeeded."""
    queued = await queue(http, path, **fields)
    body = await wait_for_status(
        http, f"/v2/requests/status/{queued['request_id']}", "COMPLETED", "FAILED", "ERROR"
    )
    answers.PixazoStatusResponse.model_validate(body, strict=True)
    assert body["status"] == "COMPLETED", body
    return body


async def files(body: dict[str, Any]) -> list[bytes]:
    return [await download(url) for url in body["output"]["media_url"]]


async def download(url: str) -> bytes:
    async with aiohttp.ClientSession() as http, http.get(url) as response:
        assert response.status == 200
        return await response.read()


async def params(http: aiohttp.ClientSession, job: str) -> dict[str, Any]:
    """Return the parameters of a job from the jobs API."""
    key = http.headers["Ocp-Apim-Subscription-Key"]
    async with http.get(f"/api/v1/jobs/{job}", headers={"Authorization": f"Bearer {key}"}) as response:
        return dict((await response.json())["params"])


async def available(http: aiohttp.ClientSession) -> float:
    key = http.headers["Ocp-Apim-Subscription-Key"]
    headers = {"Authorization": f"Bearer {key}"}
    async with http.get("/api/v1/billing/balance", headers=headers) as response:
        return float((await response.json())["available_usd"])


async def test_queues_a_request_and_returns_its_files(offering: ServiceProcess) -> None:
    async with client(offering, new_key(offering)) as http:
        queued = await queue(http, DEV, prompt="a cat", image_size="landscape_16_9", num_images=2)
        assert re.fullmatch(r"flux-dev_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", queued["request_id"])
        assert queued["polling_url"] == f"{offering.url}/v2/requests/status/{queued['request_id']}"
        body = await wait_for_status(http, queued["polling_url"], "COMPLETED")
        assert (body["request_id"], body["model_id"]) == (queued["request_id"], "flux-dev")
        assert (body["error"], body["output"]["media_type"]) == (None, "image/png")
        assert [size_of(data) for data in await files(body)] == [(1024, 576)] * 2
        moments = [body[name] for name in ("created_at", "updated_at", "completed_at")]
        assert moments == sorted(moments)
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", moment) for moment in moments)
        expires = int(urlsplit(body["output"]["media_url"][0]).path.split("/")[3])
        completed = datetime.fromisoformat(body["completed_at"]).timestamp()
        assert expires >= int(completed) + 86_400


@pytest.mark.parametrize("header", ["Ocp-Apim-Subscription-Key", "X-Secret-Key", "Authorization"])
async def test_accepts_the_key_in_each_of_its_headers(offering: ServiceProcess, header: str) -> None:
    key = new_key(offering)
    given = f"Bearer {key}" if header == "Authorization" else key
    async with aiohttp.ClientSession(offering.url, headers={header: given}) as http:
        queued = await queue(http, DEV, **SMALL)
        await wait_for_status(http, f"/v2/requests/status/{queued['request_id']}", "COMPLETED")
        for path in (SCHNELL, TEXT, BATCH):
            async with http.post(path, json={"prompt": "a", "width": 256, "height": 256}) as response:
                assert (response.status, response.headers["X-PixelFactory-Simulated"]) == (200, "true")
                assert response.headers["X-RateLimit-Limit"]
                assert response.headers["X-Request-Id"]


PRICES: list[tuple[str, dict[str, Any], float]] = [
    (PRO_TEXT, {"prompt": "a"}, 0.06),
    (PRO_EDIT, {"prompt": "a", "image_urls": [picture()]}, 0.06),
    (TRAIN, {"image_data_url": picture(), "steps": 2}, 8),
    (TRAIN_EDITS, {"image_data_url": picture(), "steps": 1200}, 8),
    (RESTORE, {"input_image": picture()}, 0.04),
    (KLEIN, {"prompt": "a", "width": 512, "height": 512}, 0.0003),
    (KLEIN, {"prompt": "a"}, 0.0007),
    (KLEIN, {"prompt": "a", "width": 1448, "height": 1448}, 0.0014),
    (KLEIN, {"prompt": "a", "width": 2048, "height": 2048}, 0.0028),
    (TEXT, {"prompt": "a", "width": 256, "height": 256}, 0.025),
    (ULTRA, {"prompt": "a"}, 0.08),
    (SCHNELL, {"prompt": "a", "width": 256, "height": 256}, 0),
    (BATCH, {"prompt": "a", "width": 256, "height": 256}, 0),
    (PRO, {"prompt": "a", "image_size": "square"}, 0.03),
    (EDIT, {"prompt": "a", "image_url": picture()}, 0.025),
    (DEV, SMALL | {"num_images": 3}, 0.075),
    (FILL, {"prompt": "a", "image": picture(), "mask": mask(64, 64), "megapixels": "match_input"}, 0.04),
]


@pytest.mark.slow
async def test_charges_the_documented_prices(offering: ServiceProcess) -> None:
    """Free models need no balance; errors of the others name the missing amount."""
    poor, rich = new_key(offering, None), new_key(offering, "17.00")
    async with client(offering, poor) as unpaid_http, client(offering, rich) as http:
        for path, body, price in PRICES:
            before = await available(http)
            async with http.post(path, json=body) as response:
                assert response.status in (200, 202), await response.text()
            assert before - await available(http) == pytest.approx(price), path
            async with unpaid_http.post(path, json=body) as response:
                refusal = await response.json()
                assert response.status == (402 if price else 200)
            if price:
                text = f"Your wallet does not have enough balance. Required: ${price:.4f}"
                assert refusal["error"] == "Insufficient Balance"
                assert text.startswith(refusal["message"].rstrip("0"))


FORMATS: list[tuple[str, dict[str, Any], str]] = [
    (DEV, SMALL | {"output_format": "jpeg"}, "JPEG"),
    (DEV, SMALL | {"output_format": "png"}, "PNG"),
    (PRO_TEXT, {"prompt": "a", "output_format": "webp"}, "WEBP"),
    (ULTRA, {"prompt": "a", "output_format": "jpeg"}, "JPEG"),
    (RESTORE, {"input_image": picture(), "output_format": "jpg"}, "JPEG"),
    (RESTORE, {"input_image": picture()}, "PNG"),
    (FILL, {"prompt": "a", "image": picture(256, 256), "mask": mask(256, 256)}, "WEBP"),
]


@pytest.mark.parametrize(("path", "body", "format"), first_always(FORMATS, always=3))
async def test_delivers_the_requested_format(
    offering: ServiceProcess, path: str, body: dict[str, Any], format: str
) -> None:
    async with client(offering, new_key(offering)) as http:
        told = await made(http, path, **body)
        (data,) = await files(told)
        assert told["output"]["media_type"] == f"image/{format.lower()}"
        with Image.open(io.BytesIO(data)) as opened:
            opened.load()
            assert opened.format == format
            said = opened.info if format == "PNG" else opened.getexif()[ExifTags.Base.ImageDescription]
            assert "pixelfactory_simulated" in said


async def test_inpainting_applies_quality_and_size(offering: ServiceProcess) -> None:
    async with client(offering, new_key(offering)) as http:
        body = {
            "prompt": "a",
            "image": picture(320, 256),
            "mask": mask(320, 256),
            "num_outputs": 2,
            "seed": 7,
        }
        rough = await made(http, FILL, **body, output_quality=0, megapixels="0.25")
        fine = await made(http, FILL, **body, output_quality=100, megapixels="0.25")
        assert [size_of(data) for data in await files(fine)] == [(560, 448)] * 2
        assert sum(map(len, await files(rough))) < sum(map(len, await files(fine))) / 2
        same = await made(http, FILL, **body, megapixels="match_input")
        assert [size_of(data) for data in await files(same)] == [(320, 256)] * 2
        large = await made(http, FILL, **body)
        assert [size_of(data) for data in await files(large)] == [(1140, 912)] * 2


async def test_trains_weights_from_a_dataset(offering: ServiceProcess) -> None:
    async with client(offering, new_key(offering, "8.00")) as http:
        told = await made(http, TRAIN, image_data_url=data_url(zipped()), steps=3, learning_rate=0.0001)
        assert told["output"]["media_type"] == "application/octet-stream"
        assert [is_trained(data) for data in await files(told)] == [True]
        seen = await params(http, job_of(told))
        assert (seen["steps"], seen["learning_rate"]) == (3, 0.0001)


async def test_an_edit_keeps_or_changes_the_size_of_its_image(offering: ServiceProcess) -> None:
    async with client(offering, new_key(offering)) as http:
        odd = await made(http, PRO_EDIT, prompt="a", image_urls=[picture(648, 400)])
        assert [size_of(data) for data in await files(odd)] == [(648, 400)]
        pictures = [picture(640, 400), "https://example.com/never-fetched.png"]
        kept = await made(http, PRO_EDIT, prompt="a", image_urls=pictures, image_size="auto")
        assert [size_of(data) for data in await files(kept)] == [(640, 400)]
        changed = await made(http, PRO_EDIT, prompt="a", image_urls=pictures, image_size="512x768")
        assert [size_of(data) for data in await files(changed)] == [(512, 768)]


async def test_an_edit_applies_its_parameters(offering: ServiceProcess) -> None:
    fields = {"prompt": "a", "image_url": picture(), "strength": 0.5, "guidance_scale": 2}
    async with client(offering, new_key(offering)) as http:
        told = await queue(http, EDIT, **fields, num_inference_steps=9, acceleration="high")
        seen = await params(http, job_of(told))
        assert [seen[name] for name in ("strength", "cfg_scale", "steps")] == [0.5, 2.0, 9]
        told = await queue(http, EDIT, **fields, acceleration="high")
        assert (await params(http, job_of(told)))["steps"] == 10


def job_of(body: dict[str, Any]) -> str:
    return f"job_{body['request_id'].rpartition('_')[2].replace('-', '')}"


@pytest.mark.slow
async def test_waits_for_the_result_until_the_timeout(
    offering: ServiceProcess, paced: ServiceProcess
) -> None:
    """With `sync_mode`; after the timeout, the request is polled like any other."""
    async with client(offering, new_key(offering)) as http:
        async with http.post(ULTRA, json={"prompt": "a", "sync_mode": True, "seed": 3}) as response:
            assert response.status == 200
            body = await response.json()
        answers.PixazoStatusResponse.model_validate(body, strict=True)
        assert (body["status"], len(await files(body))) == ("COMPLETED", 1)
    async with client(paced, new_key(paced)) as http:
        async with http.post(BATCH, json={"prompt": "a", "width": 256, "height": 256}) as response:
            assert response.status == 202
            queued = await response.json()
        answers.PixazoBatchQueuedResponse.model_validate(queued, strict=True)
        assert queued["pollingEndpoint"] == "/checkStatus"
        assert await checked(http, queued["requestId"], queued["pollingEndpoint"])
        assert json.loads(queued["pollingInstructions"].partition("with ")[2]) == {
            "requestId": queued["requestId"]
        }
        body = await checked(http, queued["requestId"])
        assert size_of(await download(body["output"])) == (256, 256)


async def checked(http: aiohttp.ClientSession, id: str, path: str = CHECK) -> dict[str, Any]:
    """Return a request of a batch when it is finished."""
    while True:
        async with http.post(path, json={"requestId": id}) as response:
            assert response.status == 200
            body = dict(await response.json())
        answers.PixazoBatchStatusResponse.model_validate(body, strict=True)
        if body["status"] in ("completed", "failed"):
            return body


async def test_a_batch_request_waits_or_calls_its_webhook(offering: ServiceProcess) -> None:
    key = new_key(offering)
    async with receiving() as receiver, client(offering, key) as http:
        async with http.post(BATCH, json={"prompt": "a", "width": 256, "height": 256}) as response:
            assert response.status == 200
            body = await response.json()
        answers.PixazoBatchStatusResponse.model_validate(body, strict=True)
        assert abs(body["completedAt"] / 1000 - time()) < 60
        async with http.post(BATCH, json={"prompt": "a", "webhook_url": receiver.url}) as response:
            assert response.status == 202
            queued = await response.json()
        assert queued["message"] == "Request queued. Result will be sent to the provided webhook URL."
        told = (await receiver.next()).checked(await signing_secret(offering, key))
        assert without_urls(told) == without_urls(await checked(http, queued["requestId"]))


async def signing_secret(service: ServiceProcess, key: str) -> str:
    async with service.client(key) as http, http.get("/api/v1/webhooks/secret") as response:
        return str((await response.json())["secret"])


def without_urls(body: Any) -> Any:
    """Return `body` without the signatures of URLs, which differ each time."""
    return json.loads(re.sub(r"/results/job_\w+/\d+/\w+/", "/", json.dumps(body)))


async def test_a_webhook_receives_the_response_to_polling(offering: ServiceProcess) -> None:
    """The URL comes from a header or from the body, which takes precedence. The payload is signed and has no
    envelope.
    """
    key = new_key(offering)
    secret = await signing_secret(offering, key)
    async with receiving() as receiver, receiving() as other, client(offering, key) as http:
        header = {"X-Webhook-URL": receiver.url}
        by_header = await queue(http, DEV, **SMALL, headers=header)
        assert await told_of(receiver.next(), secret) == await polled(http, by_header)
        by_body = await queue(http, DEV, **SMALL, webhook=other.url, headers=header)
        assert await told_of(other.next(), secret) == await polled(http, by_body)


async def test_the_webhook_header_works_for_requests_that_wait(offering: ServiceProcess) -> None:
    key = new_key(offering)
    secret, size = await signing_secret(offering, key), {"prompt": "a", "width": 256, "height": 256}
    async with receiving() as receiver, client(offering, key) as http:
        headers = {"X-Webhook-URL": receiver.url}
        async with http.post(TEXT, json=size, headers=headers) as response:
            assert response.status == 200
            output = (await response.json())["output"]
        told = await told_of(receiver.next(), secret)
        assert told["output"]["media_url"] == [without_urls(output)]
        async with http.post(BATCH, json=size, headers=headers) as response:
            assert response.status == 202
            queued = await response.json()
        assert (await told_of(receiver.next(), secret))["requestId"] == queued["requestId"]


async def test_says_what_has_no_effect_in_a_header(offering: ServiceProcess) -> None:
    async with client(offering, new_key(offering)) as http:
        small = {"prompt": "fingers brushing lips", "width": 256, "height": 256}
        async with http.post(TEXT, json=small) as response:
            said = response.headers["X-PixelFactory-Warnings"]
            assert said == '`prompt` was cleaned up: "fingers brushing lips" became "hand near face"'
        unsafe = SMALL | {"enable_safety_checker": False, "acceleration": "high", "num_inference_steps": 3}
        async with http.post(DEV, json=unsafe) as response:
            assert response.headers["X-PixelFactory-Warnings"] == (
                "`enable_safety_checker` has no effect; `acceleration` has no effect: the request sets the"
                " number of steps"
            )
            told = await response.json()
        async with http.get(f"/v2/requests/status/{told['request_id']}") as response:
            assert "enable_safety_checker" in response.headers["X-PixelFactory-Warnings"]
        async with http.post(DEV, json=SMALL) as response:
            assert "X-PixelFactory-Warnings" not in response.headers


EXACT_SIZES: list[tuple[str, dict[str, Any], tuple[int, int]]] = [
    (KLEIN, {"width": 1448, "height": 512}, (1448, 512)),
    (TEXT, {"width": 1016, "height": 328}, (1016, 328)),
    (TEXT, {"width": 104, "height": 40}, (104, 40)),
    (SCHNELL, {"width": 1920, "height": 24}, (1920, 24)),
]


@pytest.mark.slow
@pytest.mark.parametrize(("path", "fields", "size"), EXACT_SIZES)
async def test_makes_exactly_the_size_that_was_asked_for(
    service: ServiceProcess, path: str, fields: dict[str, int], size: tuple[int, int]
) -> None:
    async with (
        client(service, new_key(service)) as http,
        http.post(path, json={"prompt": "a", **fields}) as response,
    ):
        assert response.status == 200, await response.text()
        assert "X-PixelFactory-Warnings" not in response.headers
        assert size_of(await download((await response.json())["output"])) == size


async def test_a_whole_number_may_have_a_fraction_of_zero(offering: ServiceProcess) -> None:
    body = {"prompt": "a", "num_steps": 2.0, "seed": 3.0, "width": 256.0, "height": 256.0}
    async with client(offering, new_key(offering)) as http:
        async with http.post(SCHNELL, json=body) as response:
            assert response.status == 200, await response.text()
        async with http.post(SCHNELL, json=body | {"num_steps": 2.5}) as response:
            assert (await response.json())["error"] == "num_steps must be an integer in [1, 8] (got 2.5)"


async def test_reads_files_in_base64(offering: ServiceProcess) -> None:
    """With and without `data:`, with line breaks, and a dataset."""
    plain = base64_png(320, 256)
    lines = "\n".join(plain[at : at + 76] for at in range(0, len(plain), 76))
    async with client(offering, new_key(offering, "20.00")) as http:
        for text in (plain, lines, plain.rstrip("="), f"data:image/png;base64,{plain}"):
            told = await made(http, PRO_EDIT, prompt="a", image_urls=[text])
            assert [size_of(data) for data in await files(told)] == [(320, 256)]
        dataset = data_url(zipped()).partition(",")[2]
        told = await made(http, TRAIN, image_data_url=dataset, steps=2)
        assert [is_trained(data) for data in await files(told)] == [True]


async def told_of(delivery: Any, secret: str) -> Any:
    received: ReceivedWebhook = await delivery
    return without_urls(received.checked(secret))


async def polled(http: aiohttp.ClientSession, queued: dict[str, Any]) -> Any:
    return without_urls(await wait_for_status(http, queued["polling_url"], "COMPLETED", "FAILED"))


async def test_a_webhook_receives_only_the_requested_events(offering: ServiceProcess) -> None:
    """The blocked request ends first: if its event were sent, it would arrive first."""
    key = new_key(offering)
    async with receiving() as receiver, client(offering, key) as http:
        only: dict[str, Any] = {"webhook": receiver.url, "webhook_events_filter": ["completed"]}
        unheard = await queue(http, DEV, prompt="an ogre", **only)
        heard = await queue(http, DEV, **SMALL, **only)
        assert json.loads((await receiver.next()).body)["request_id"] == heard["request_id"]
        only = {"webhook": receiver.url, "webhook_events_filter": ["failed"]}
        await made(http, DEV, **SMALL, **only)
        heard = await queue(http, DEV, prompt="an ogre", **only)
        body = json.loads((await receiver.next()).body)
        assert (body["request_id"], body["status"]) == (heard["request_id"], "FAILED")
        assert receiver.deliveries.empty()
        theirs = {"Authorization": f"Bearer {key}"}
        async with http.get(f"/api/v1/jobs/{job_of(unheard)}", headers=theirs) as response:
            shown = (await response.json())["webhook"]
        assert (shown["url"], shown["status"], shown["history"]) == (receiver.url, "excluded", [])
        replay = f"/api/v1/jobs/{job_of(unheard)}/webhook"
        async with http.post(replay, headers=theirs) as response:
            assert response.status == 400
            assert "asked for no message about that" in (await response.json())["error"]["message"]


async def test_does_not_charge_for_requests_that_the_content_policy_rejects(offering: ServiceProcess) -> None:
    """A queued request fails, a synchronous one gets a 400; neither is charged."""
    async with client(offering, new_key(offering, "0.03")) as http:
        queued = await queue(http, DEV, prompt="An OGRE at dusk", enable_safety_checker=False)
        body = await wait_for_status(http, queued["polling_url"], "FAILED")
        assert body["error"]
        assert (body["output"], body["status"]) == (None, "FAILED")
        async with http.post(TEXT, json={"prompt": "an ogre"}) as response:
            assert (response.status, set(await response.json())) == (400, {"error"})
        async with http.post(BATCH, json={"prompt": "an ogre"}) as response:
            body = await response.json()
            assert (response.status, body["status"]) == (200, "failed")
            assert body["error"]
        assert await available(http) == 0.03


async def test_an_idempotency_key_makes_one_request(offering: ServiceProcess) -> None:
    headers = {"Idempotency-Key": "k1"}
    async with client(offering, new_key(offering)) as http:
        ids = {(await queue(http, DEV, **SMALL, headers=headers))["request_id"] for _ in range(2)}
        assert len(ids) == 1
        for change in ({"prompt": "a dog"}, {"output_format": "jpeg"}):
            async with http.post(DEV, json=SMALL | change, headers=headers) as response:
                assert (response.status, (await response.json())["error"]) == (409, "Conflict")


async def test_does_not_find_an_expired_request(offering: ServiceProcess) -> None:
    async with client(offering, new_key(offering)) as http:
        body = await made(http, DEV, **SMALL)
        set_back(offering, job_of(body), timedelta(days=8))
        async with http.get(f"/v2/requests/status/{body['request_id']}") as response:
            assert (response.status, (await response.json())["error"]) == (404, "Not Found")
