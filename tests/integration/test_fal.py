"""fal's API: by its official Python client behind TLS, and to the letter."""

from __future__ import annotations

import hashlib
import io
import json
from base64 import b64decode, b64encode, urlsafe_b64decode
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from PIL import Image

from comfy_instances.process.child import find_free_port
from orchestrator.web.dialects.fal import schemas as answers
from orchestrator.web.dialects.ids import job_id_from_uuid
from tests.support.callers import new_key, set_back
from tests.support.images import png, png_white_in_the_middle, png_with_hole, size_of
from tests.support.polling import wait_until_sync
from tests.support.python_client import run_python
from tests.support.service import ServiceProcess, running
from tests.support.tls_front import tls_front
from tests.support.videos import film
from tests.support.webhook_receiver import receiving

SCHNELL = "fal-ai/flux/schnell"
SMALL = {"prompt": "a cat", "image_size": {"width": 256, "height": 256}}

CLIENT = """
import json, os
import fal_client
from fal_client import client

client.REST_URL = os.environ["FAL_REST_URL"]  # the address of uploads has no variable
small = {"prompt": "a cat", "image_size": {"width": 256, "height": 256}}
schnell = "fal-ai/flux/schnell"
reported = {}
ran = fal_client.run(schnell, {**small, "num_images": 2, "seed": 7})
reported["ran"] = [len(ran["images"]), ran["seed"], ran["images"][0]["width"], ran["has_nsfw_concepts"]]
updates = []
subscribed = fal_client.subscribe(
    schnell, small, with_logs=True, on_queue_update=lambda update: updates.append(type(update).__name__)
)
reported["subscribed"] = [updates[-1], subscribed["images"][0]["url"]]
handle = fal_client.submit("fal-ai/fast-sdxl", small, priority="low", start_timeout=60)
reported["handled"] = len(handle.get()["images"])
status = fal_client.status("fal-ai/fast-sdxl", handle.request_id, with_logs=True)
reported["status"] = [type(status).__name__, [line["message"] for line in status.logs], status.error]
reported["result"] = fal_client.result("fal-ai/fast-sdxl", handle.request_id)["images"][0]["url"]
reported["streamed"] = [len(event["images"]) for event in fal_client.stream(schnell, small)]
url = fal_client.upload_file("one.png", repository="fal", fallback_repository=[])
reported["upscaled"] = fal_client.run("pixel-factory/4x-ultrasharp", {"image_url": url})["image"]
inline = fal_client.encode_file("one.png")
reported["inline"] = fal_client.run("pixel-factory/4x-ultrasharp", {"image_url": inline})["image"]["width"]
late = fal_client.submit(schnell, small)
late.get()
try:
    late.cancel()
except fal_client.FalClientHTTPError as error:
    reported["late"] = [error.status_code, error.response.json()["status"]]
try:
    fal_client.run(schnell, {"prompt": "a", "hocus": 1})
except fal_client.FalClientHTTPError as error:
    reported["refused"] = [error.status_code, error.message, error.error_type]
print(json.dumps(reported))
"""


@pytest.fixture(scope="module")
def http(offering: ServiceProcess) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Key {new_key(offering, '50.00')}"}
    with httpx.Client(base_url=f"{offering.url}/fal", headers=headers, timeout=60) as client:
        yield client


def submit(http: httpx.Client, app: str = SCHNELL, **fields: Any) -> dict[str, Any]:
    response = http.post(f"/queue/{app}", json={**SMALL, **fields})
    assert response.status_code == 200, response.text
    body = dict(response.json())
    answers.FalQueueStatus.model_validate(body, strict=True)
    assert response.headers["X-Fal-Request-Id"] == body["request_id"]
    return body


def data_url(image: bytes) -> str:
    return f"data:image/png;base64,{b64encode(image).decode()}"


def picture_of(url: str) -> Image.Image:
    return Image.open(io.BytesIO(b64decode(url.partition(",")[2]))).convert("RGB")


def completed(http: httpx.Client, queued: dict[str, Any]) -> dict[str, Any]:
    def read() -> dict[str, Any]:
        return dict(http.get(queued["status_url"]).json())

    wait_until_sync(lambda: read()["status"] == "COMPLETED")
    return read()


def test_the_official_client_runs_behind_tls(tmp_path: Path) -> None:
    (tmp_path / "one.png").write_bytes(png(64, 48))
    port = find_free_port()
    environment = {"PIXELFACTORY_PUBLIC_URL": f"https://127.0.0.1:{port}"}
    with (
        running(ServiceProcess(tmp_path / "data", environment=environment)) as service,
        tls_front(tmp_path, port, service.port) as front,
    ):
        host = front.url.removeprefix("https://")
        reported = json.loads(
            run_python(
                tmp_path,
                CLIENT,
                FAL_KEY=service.key("10.00"),
                FAL_RUN_HOST=f"{host}/fal",
                FAL_QUEUE_RUN_HOST=f"{host}/fal/queue",
                FAL_REST_URL=f"{front.url}/fal",
                SSL_CERT_FILE=str(front.authority),
            )
        )
        image = httpx.get(reported["subscribed"][1].replace(front.url, service.url)).content
    assert reported["ran"] == [2, 7, 256, [False, False]]
    assert reported["subscribed"][0] == "Completed"
    assert size_of(image) == (256, 256)
    assert reported["handled"] == 1
    kind, logs, error = reported["status"]
    assert (kind, error) == ("Completed", None)
    assert any("Using seed" in line for line in logs)
    assert any("`X-Fal-Queue-Priority` has no effect" in line for line in logs)
    assert reported["result"].startswith(front.url)
    assert reported["streamed"][-1] == 1
    assert (reported["upscaled"]["width"], reported["upscaled"]["height"], reported["inline"]) == (
        256,
        192,
        256,
    )
    assert reported["late"] == [400, "ALREADY_COMPLETED"]
    status, message, code = reported["refused"]
    assert (status, message[0]["loc"], code) == (422, ["body", "hocus"], "unknown_parameter")


def test_submits_follows_and_reads_the_result(http: httpx.Client) -> None:
    queued = submit(http, seed=7)
    assert queued["status_url"].endswith(f"/fal/queue/fal-ai/flux/requests/{queued['request_id']}/status")
    status = completed(http, queued)
    answers.FalQueueStatus.model_validate(status, strict=True)
    assert status["logs"] is None
    response = http.get(queued["response_url"])
    result = dict(response.json())
    answers.FalResult.model_validate(result, strict=True)
    (image,) = result["images"]
    assert size_of(httpx.get(image["url"]).content) == (image["width"], image["height"]) == (256, 256)
    assert (result["seed"], result["prompt"], image["content_type"]) == (7, "a cat", "image/png")
    assert response.headers["X-Fal-Request-Id"] == queued["request_id"]
    with httpx.stream("GET", queued["status_url"] + "/stream?logs=1", headers=http.headers) as stream:
        events = [json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data: ")]
    assert events[-1]["status"] == "COMPLETED"
    assert any("Using seed: 7" in line["message"] for line in events[-1]["logs"])


def test_what_is_white_in_a_mask_is_redrawn(http: httpx.Client) -> None:
    image, mask = data_url(png()), data_url(png_white_in_the_middle())
    inputs = {"prompt": "a hat", "image_url": image, "mask_url": mask, "sync_mode": True}
    made = http.post("/pixel-factory/flux-1-fill-dev", json=inputs)
    assert made.status_code == 200, made.text
    filled = picture_of(made.json()["images"][0]["url"])
    assert filled.getpixel((2, 2)) == picture_of(image).getpixel((2, 2))
    assert filled.getpixel((20, 20)) != picture_of(image).getpixel((20, 20))
    hole = http.post("/pixel-factory/flux-1-fill-dev", json={**inputs, "mask_url": data_url(png_with_hole())})
    assert hole.json()["detail"][0]["loc"] == ["body", "mask_url"]
    own = {**inputs, "mask_url": data_url(png_with_hole()), "mask_channel": "alpha"}
    assert http.post("/pixel-factory/flux-1-fill-dev", json=own).status_code == 200


def test_makes_a_video_and_data_urls(http: httpx.Client) -> None:
    fields = {"prompt": "waves", "image_size": {"width": 256, "height": 256}, "num_frames": 9}
    made = http.post("/pixel-factory/wan2.1-t2v-fast", json=fields).json()
    answers.FalResult.model_validate(made, strict=True)
    assert film(httpx.get(made["video"]["url"]).content).frames == made["video"]["num_frames"] == 9
    inline = http.post(f"/{SCHNELL}", json={**SMALL, "sync_mode": True, "output_format": "jpeg"}).json()
    kind, _, data = inline["images"][0]["url"].partition(",")
    assert kind == "data:image/jpeg;base64"
    assert size_of(b64decode(data)) == (256, 256)


def test_a_running_request_is_in_progress_and_is_cancelled_once(
    paced: ServiceProcess, paced_key: str
) -> None:
    headers = {"Authorization": f"Key {paced_key}"}
    slow = {"prompt": "a cat", "num_inference_steps": 100, "image_size": "square_hd", "num_images": 4}
    with httpx.Client(base_url=f"{paced.url}/fal", headers=headers, timeout=60) as own:
        queued = own.post("/queue/fal-ai/fast-sdxl", json=slow).json()
        waiting = own.post("/queue/fal-ai/fast-sdxl", json=slow).json()
        status = own.get(waiting["status_url"])
        assert (status.status_code, status.json()["status"]) == (202, "IN_QUEUE")
        assert status.json()["queue_position"] >= 0
        early = own.get(queued["response_url"])
        assert (early.status_code, early.json()["detail"]) == (400, "Request is still in progress")
        for request in (queued, waiting):
            cancelled = own.put(request["cancel_url"])
            assert (cancelled.status_code, cancelled.json()["status"]) == (202, "CANCELLATION_REQUESTED")
            again = own.put(request["cancel_url"])
            assert (again.status_code, again.json()["status"]) == (400, "ALREADY_COMPLETED")
        ended = own.get(queued["status_url"]).json()
        assert (ended["status"], ended["error_type"]) == ("COMPLETED", "cancelled")
        assert own.get(queued["response_url"]).status_code == 500


def test_a_stream_of_states_sends_each_line_of_the_logs_once(paced: ServiceProcess, paced_key: str) -> None:
    """Its JavaScript client appends the logs of each event to those before."""
    headers = {"Authorization": f"Key {paced_key}"}
    # A video takes seconds, also where an image is ready before its stream is opened.
    body = {"prompt": "a cat", "num_inference_steps": 30, "seed": 7, "num_frames": 81}
    with httpx.Client(base_url=f"{paced.url}/fal", headers=headers, timeout=60) as own:
        queued = own.post("/queue/fal-ai/wan-t2v", json=body).json()
        with own.stream("GET", f"{queued['status_url']}/stream", params={"logs": "1"}) as stream:
            states = [json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data: ")]
    lines = [line["message"] for state in states for line in state["logs"]]
    assert len(states) > 1
    assert lines.count("Using seed: 7") == 1
    # A reader that is late gets the latest progress only.
    assert len(set(lines)) == len(lines) > 1
    assert states[-1]["status"] == "COMPLETED"


def test_previews_are_streamed(paced: ServiceProcess, paced_key: str) -> None:
    headers = {"Authorization": f"Key {paced_key}"}
    body = {"prompt": "a cat", "num_inference_steps": 100, "image_size": "square_hd"}
    url = f"{paced.url}/fal/fal-ai/fast-sdxl/stream"
    with httpx.stream("POST", url, json=body, headers=headers, timeout=60) as stream:
        events = [json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data: ")]
    *partial, last = events
    assert partial
    assert all(event["images"][0]["url"].startswith("data:image/") for event in partial)
    assert size_of(httpx.get(last["images"][0]["url"]).content) == (1024, 1024)


def test_a_request_that_does_not_start_in_time_is_a_504(paced: ServiceProcess, paced_key: str) -> None:
    headers = {"Authorization": f"Key {paced_key}"}
    slow = {"prompt": "a cat", "num_inference_steps": 100, "image_size": "square_hd", "num_images": 4}
    with httpx.Client(base_url=f"{paced.url}/fal", headers=headers, timeout=60) as own:
        first = own.post("/queue/fal-ai/fast-sdxl", json=slow).json()
        late = own.post(
            "/queue/fal-ai/flux/schnell", json=SMALL, headers={"X-Fal-Request-Timeout": "1"}
        ).json()
        status = completed(own, late)
        response = own.get(late["response_url"])
        own.put(first["cancel_url"])
        if status.get("error_type") is None:
            assert response.status_code == 200
        else:
            assert (response.status_code, response.headers["X-Fal-Request-Timeout-Type"]) == (504, "user")


async def test_webhooks_are_signed_by_a_public_key(offering: ServiceProcess) -> None:
    headers = {"Authorization": f"Key {new_key(offering)}"}
    async with (
        httpx.AsyncClient(base_url=f"{offering.url}/fal", headers=headers, timeout=60) as own,
        receiving() as receiver,
    ):
        (key,) = (await own.get("/.well-known/jwks.json")).json()["keys"]
        public = Ed25519PublicKey.from_public_bytes(urlsafe_b64decode(key["x"] + "="))
        for prompt, status in (("a cat", "OK"), ("An OGRE at dusk", "ERROR")):
            params = {"fal_webhook": receiver.url}
            body = {**SMALL, "prompt": prompt}
            queued = (await own.post(f"/queue/{SCHNELL}", json=body, params=params)).json()
            got = await receiver.next()
            given = {name.lower(): value for name, value in got.headers.items()}
            digest = hashlib.sha256(got.body).hexdigest()
            names = ("request-id", "user-id", "timestamp")
            signed = "\n".join([*(given[f"x-fal-webhook-{name}"] for name in names), digest])
            public.verify(bytes.fromhex(given["x-fal-webhook-signature"]), signed.encode())
            message = json.loads(got.body)
            assert (message["request_id"], message["status"]) == (queued["request_id"], status)
            if status == "OK":
                answers.FalResult.model_validate(message["payload"], strict=True)
            else:
                assert "content policy" in message["error"]
        refused = await own.post(f"/queue/{SCHNELL}", json=SMALL, params={"fal_webhook": "ftp://x"})
        assert refused.json()["detail"][0]["loc"] == ["query", "fal_webhook"]


def test_a_file_is_uploaded_by_its_address(http: httpx.Client, offering: ServiceProcess) -> None:
    body = {"file_name": "cat.png", "content_type": "image/png"}
    made = http.post("/storage/upload/initiate?storage_type=fal-cdn-v3", json=body).json()
    missing = http.post("/pixel-factory/4x-ultrasharp", json={"image_url": made["file_url"]})
    assert missing.status_code == 422
    put = httpx.put(made["upload_url"], content=png(64, 48), headers={"Content-Type": "image/png"})
    assert put.status_code == 200
    assert httpx.get(made["file_url"]).content == png(64, 48)
    used = http.post("/pixel-factory/4x-ultrasharp", json={"image_url": made["file_url"]}).json()
    assert (used["image"]["width"], used["image"]["height"]) == (256, 192)
    forged = httpx.put(made["upload_url"].replace("cat.png", "dog.png"), content=b"x")
    assert (forged.status_code, forged.json()["error_type"]) == (401, "invalid_signature")


def test_the_same_idempotency_key_is_the_same_request(http: httpx.Client) -> None:
    headers = {"Idempotency-Key": "once"}
    first, again = (
        http.post(f"/queue/{SCHNELL}", json=SMALL, headers=headers).json()["request_id"] for _ in range(2)
    )
    assert first == again
    other = http.post(f"/queue/{SCHNELL}", json={**SMALL, "seed": 1}, headers=headers)
    assert (other.status_code, other.json()["error_type"]) == (409, "idempotency_conflict")


def test_foreign_and_expired_requests_are_not_there(http: httpx.Client, offering: ServiceProcess) -> None:
    queued = submit(http)
    completed(http, queued)
    url = queued["response_url"]
    with httpx.Client(headers={"Authorization": f"Key {new_key(offering)}"}) as stranger:
        assert stranger.get(url).status_code == 404
        assert stranger.put(queued["cancel_url"]).status_code == 404
    assert http.get(url.replace("fal-ai/flux", "fal-ai/fast-sdxl")).status_code == 404
    set_back(offering, job_id_from_uuid(queued["request_id"]), timedelta(days=40))
    expired = http.get(url)
    assert (expired.status_code, expired.json()["error_type"]) == (410, "expired")


@pytest.mark.parametrize(
    ("app", "body", "status", "loc"),
    [
        (SCHNELL, {}, 422, ["body", "prompt"]),
        (SCHNELL, {"prompt": 7}, 422, ["body", "prompt"]),
        (SCHNELL, {"prompt": "a", "image_size": "huge"}, 422, ["body", "image_size"]),
        (SCHNELL, {"prompt": "a", "num_images": 11}, 422, ["body", "num_images"]),
        (SCHNELL, {"prompt": "a", "num_images": "2"}, 422, ["body", "num_images"]),
        (SCHNELL, {"prompt": "a", "num_inference_steps": 10**6}, 422, ["body", "num_inference_steps"]),
        (SCHNELL, {"prompt": "a", "sync_mode": "yes"}, 422, ["body", "sync_mode"]),
        (SCHNELL, {"prompt": "a", "expand_prompt": True}, 422, ["body", "expand_prompt"]),
        (SCHNELL, {"prompt": "a", "output_format": "gif"}, 422, ["body", "output_format"]),
        (SCHNELL, {"prompt": "a", "hocus": 1}, 422, ["body", "hocus"]),
        (SCHNELL, {"prompt": "a", "loras": [{"path": "x"}]}, 422, ["body", "loras"]),
        ("fal-ai/flux-lora", {"prompt": "a", "loras": [{"path": "no-such"}]}, 422, ["body", "loras"]),
        ("pixel-factory/4x-ultrasharp", {"image_url": "!!!"}, 422, ["body", "image_url"]),
        ("pixel-factory/4x-ultrasharp", {"image_url": "data:,aGk="}, 422, ["body", "image_url"]),
        ("fal-ai/no-such-app", {"prompt": "a"}, 404, None),
        ("somebody/flux-1-schnell", {"prompt": "a"}, 404, None),
    ],
)
@pytest.mark.parametrize("queue", ["", "queue/"])
def test_refuses_what_is_wrong(
    http: httpx.Client, queue: str, app: str, body: dict[str, Any], status: int, loc: list[str] | None
) -> None:
    response = http.post(f"/{queue}{app}", json=body)
    error = dict(response.json())
    assert response.status_code == status, error
    assert error["message"]
    if loc is not None:
        assert [each["loc"] for each in error["detail"]] == [loc]


def test_says_which_sizes_there_are(http: httpx.Client) -> None:
    response = http.post(f"/{SCHNELL}", json={"prompt": "a", "image_size": "square_sd"})
    (error,) = response.json()["detail"]
    assert error["msg"].startswith(
        "`image_size` must be WIDTHxHEIGHT, for example 1024x1024, or one of square,"
    )
    assert "portrait_16_9" in error["msg"]
    assert error["msg"].endswith("(got 'square_sd')")


def test_refuses_who_may_not(offering: ServiceProcess) -> None:
    with httpx.Client(base_url=f"{offering.url}/fal", timeout=60) as anybody:
        for header in (None, "Key", "Key pk-wrong", "Basic cGs6eA=="):
            headers = {"Authorization": header} if header else {}
            refused = anybody.post(f"/{SCHNELL}", json=SMALL, headers=headers)
            assert (refused.status_code, type(refused.json()["detail"])) == (401, str)
        poor = {"Authorization": f"Key {new_key(offering, None)}"}
        broke = anybody.post(f"/queue/{SCHNELL}", json=SMALL, headers=poor)
        assert broke.status_code == 403
        assert broke.json()["detail"].startswith("User is locked. Reason: Exhausted balance.")
        joined = {"Authorization": f"Key someid:{new_key(offering)}"}
        assert anybody.post(f"/{SCHNELL}", json=SMALL, headers=joined).status_code == 200
        bearer = {"Authorization": f"Bearer {new_key(offering)}"}
        assert anybody.post(f"/{SCHNELL}", json=SMALL, headers=bearer).status_code == 200
