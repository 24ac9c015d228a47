"""Operations of callers, through every dialect."""

from __future__ import annotations

import asyncio
import base64
import io
import random
from contextlib import suppress
from typing import Any

import aiohttp
from PIL import Image

from scripts.bench.campaign.caller import LOST, REPEATS, Caller, Operation, note_images
from scripts.bench.campaign.observations import Observation, Outcome

#: More than an SDK's two, so that they outlast a restart.
_SDK_RETRIES = 5


async def wait_for_image(caller: Caller, http: aiohttp.ClientSession, seen: Observation) -> None:
    body = caller.image_body(seen)
    note_images(seen, await caller.send_once(http, seen, "/api/v1/images/generations", body))


async def wait_with_key(caller: Caller, http: aiohttp.ClientSession, seen: Observation) -> None:
    body = caller.image_body(seen)
    note_images(seen, await caller.send_until_final(http, seen, "/api/v1/images/generations", body))


async def openai_image(caller: Caller, http: aiohttp.ClientSession, seen: Observation) -> None:
    body = caller.image_body(seen, model="sdxl-1.0", response_format="b64_json", n=1)
    note_images(seen, await caller.send_once(http, seen, "/v1/images/generations", body))


async def sdk_retries(caller: Caller, http: aiohttp.ClientSession, seen: Observation) -> None:
    """Repeat without a key, as the SDKs do: the body is the same, and a header counts."""
    body = caller.image_body(seen)
    for count in range(_SDK_RETRIES + 1):
        headers = {"X-Stainless-Retry-Count": str(count), "User-Agent": "OpenAI/Python 2.8.0"}
        try:
            reply = await caller.send(http, "/v1/images/generations", body, headers)
        except LOST as error:
            seen.outcome, seen.detail = Outcome.LOST, type(error).__name__
        else:
            note_images(seen, reply)
            if not reply.is_passing or reply.headers.get("X-Should-Retry") == "false":
                return
        await asyncio.sleep(min(0.5 * 2**count, 3))


async def openai_stream(caller: Caller, http: aiohttp.ClientSession, seen: Observation) -> None:
    await caller.rig.up.wait()
    body = caller.image_body(seen, n=1, stream=True, partial_images=1, response_format="b64_json")
    try:
        async with http.post("/v1/images/generations", json=body) as response:
            seen.job_id = response.headers.get("X-PixelFactory-Job")
            text = (await response.read()).decode()
    except LOST as error:
        seen.outcome, seen.detail = Outcome.LOST, type(error).__name__
        return
    seen.inline_images = text.count("event: image_generation.completed")
    if seen.inline_images:
        seen.outcome = Outcome.COMPLETED
    elif "event: error" in text or response.status != 200:
        seen.detail = f"{response.status} {text[-120:]}"
        seen.outcome = Outcome.REFUSED if response.status != 200 else Outcome.FAILED
    else:
        seen.outcome, seen.detail = Outcome.LOST, "the stream ended without its last event"


async def submit(
    caller: Caller, http: aiohttp.ClientSession, seen: Observation, body: dict[str, Any]
) -> str | None:
    """Submit without waiting, and return the id of the accepted job."""
    reply = await caller.send_until_final(
        http, seen, "/api/v1/images/generations", body, Prefer="respond-async"
    )
    if reply.status != 202:
        note_images(seen, reply)
        return None
    seen.job_id = str(reply.body["jobId"])
    return seen.job_id


async def submit_and_poll(caller: Caller, http: aiohttp.ClientSession, seen: Observation) -> None:
    if job_id := await submit(caller, http, seen, caller.image_body(seen)):
        view = await caller.poll(http, seen, f"/api/v1/jobs/{job_id}")
        seen.urls = (view.get("output") or {}).get("images", [])


async def same_pixels(caller: Caller, http: aiohttp.ClientSession, seen: Observation) -> None:
    """The video that everybody makes; half of the callers delete it at once."""
    body = {"model": "wan2.1-t2v-fast", "prompt": "the same", "seconds": "1", "seed": 7, "size": "256x256"}
    seen.expected_images = 1
    reply = await caller.send_until_final(http, seen, "/v1/videos", body)
    if reply.status != 200:
        return note_images(seen, reply)
    seen.job_id = str(reply.body["id"])
    view = await caller.poll(http, seen, f"/api/v1/jobs/{seen.job_id}")
    seen.urls = (view.get("output") or {}).get("videos", [])
    if seen.outcome is Outcome.COMPLETED and caller.rng.random() < 0.5:
        await delete_job(caller, http, seen)


async def delete_job(caller: Caller, http: aiohttp.ClientSession, seen: Observation) -> None:
    for _ in range(REPEATS):
        try:
            reply = await caller.send(http, f"/v1/videos/{seen.job_id}", None, method="DELETE")
        except LOST:
            await asyncio.sleep(0.5)
            continue
        if not reply.is_passing:
            seen.deleted = reply.status in (200, 204, 404)
            return
        await asyncio.sleep(0.2)


async def follow_events(caller: Caller, http: aiohttp.ClientSession, seen: Observation) -> None:
    job_id = await submit(caller, http, seen, caller.image_body(seen))
    if job_id is None:
        return
    # A stream that breaks off is no failure: its end is asked for below, as a browser does.
    with suppress(*LOST):
        async with http.get(f"/api/v1/jobs/{job_id}/events") as response:
            await response.read()
    view = await caller.poll(http, seen, f"/api/v1/jobs/{job_id}")
    seen.urls = (view.get("output") or {}).get("images", [])


async def cancel(caller: Caller, http: aiohttp.ClientSession, seen: Observation) -> None:
    job_id = await submit(caller, http, seen, caller.image_body(seen))
    if job_id is None:
        return
    await asyncio.sleep(caller.rng.random() * 0.4)
    with suppress(*LOST):
        await caller.send(http, f"/api/v1/jobs/{job_id}", None, method="DELETE")
    view = await caller.poll(http, seen, f"/api/v1/jobs/{job_id}")
    seen.urls = (view.get("output") or {}).get("images", [])


async def disconnect(caller: Caller, http: aiohttp.ClientSession, seen: Observation) -> None:
    body = caller.image_body(seen)
    try:
        async with asyncio.timeout(0.02 + caller.rng.random() * 0.4):
            note_images(seen, await caller.send_once(http, seen, "/v1/images/generations", body))
    except TimeoutError:
        seen.outcome = Outcome.LEFT


async def with_webhook(caller: Caller, http: aiohttp.ClientSession, seen: Observation) -> None:
    body = caller.image_body(seen) | {"webhook_url": caller.rig.receiver.url(seen.account)}
    if job_id := await submit(caller, http, seen, body):
        seen.webhook = True
        view = await caller.poll(http, seen, f"/api/v1/jobs/{job_id}")
        seen.urls = (view.get("output") or {}).get("images", [])


async def upload(caller: Caller, http: aiohttp.ClientSession, seen: Observation) -> None:
    await caller.rig.up.wait()
    file = io.BytesIO()
    Image.new("RGB", (64, 64), (seen.number % 256, 20, 30)).save(file, "PNG")
    form = aiohttp.FormData({"prompt": f"operation {seen.number}", "response_format": "url"})
    form.add_field("image", file.getvalue(), filename="in.png", content_type="image/png")
    seen.expected_images = 1
    note_images(seen, await caller.send_once(http, seen, "/v1/images/edits", form))


async def image_in_json(caller: Caller, http: aiohttp.ClientSession, seen: Observation) -> None:
    file = io.BytesIO()
    Image.new("RGB", (48, 48), (10, seen.number % 256, 30)).save(file, "PNG")
    image = base64.b64encode(file.getvalue()).decode()
    body = {"model": "4x-ultrasharp", "image": image, "prompt": f"operation {seen.number}"}
    seen.expected_images = 1
    reply = await caller.send_until_final(
        http, seen, "/api/v1/images/generations", body | {"response_format": "url"}
    )
    note_images(seen, reply)


async def openai_video(caller: Caller, http: aiohttp.ClientSession, seen: Observation) -> None:
    body = {"model": "wan2.1-t2v-fast", "prompt": f"operation {seen.number}", "seconds": "1"}
    seen.expected_images = 1
    reply = await caller.send_once(http, seen, "/v1/videos", body)
    if reply is None:
        return
    if reply.status != 200:
        return note_images(seen, reply)
    seen.job_id, seen.can_ask = str(reply.body["id"]), True
    await caller.poll(http, seen, f"/v1/videos/{seen.job_id}")


async def pixelapi(caller: Caller, http: aiohttp.ClientSession, seen: Observation) -> None:
    body = {"model": "flux-schnell", "prompt": f"operation {seen.number}", "width": 512, "height": 512}
    seen.expected_images = 1
    reply = await caller.send_once(http, seen, "/v1/image/generate", body)
    if reply is None:
        return
    if reply.status not in (200, 202):
        return note_images(seen, reply)
    seen.job_id, seen.can_ask = reply.headers["X-PixelFactory-Job"], True
    view = await caller.poll(http, seen, f"/v1/image/{reply.body['generation_id']}")
    seen.urls = [url for url in [view.get("output_url")] if url]


async def pixeldojo(caller: Caller, http: aiohttp.ClientSession, seen: Observation) -> None:
    body = {"prompt": f"operation {seen.number}", "width": 256, "height": 256}
    seen.expected_images = 1
    reply = await caller.send_once(http, seen, "/api/v1/models/flux-1-schnell/run", body)
    if reply is None:
        return
    if reply.status not in (200, 201, 202):
        return note_images(seen, reply)
    seen.job_id, seen.can_ask = str(reply.body["jobId"]), True
    view = await caller.poll(http, seen, f"/api/v1/jobs/{seen.job_id}")
    seen.urls = (view.get("output") or {}).get("images", [])


async def pixazo(caller: Caller, http: aiohttp.ClientSession, seen: Observation) -> None:
    body = {"prompt": f"operation {seen.number}", "num_steps": 2, "width": 256, "height": 256}
    seen.expected_images = 1
    reply = await caller.send_once(http, seen, "/flux-1-schnell/v1/getData", body)
    if reply is not None and reply.status == 200:
        seen.job_id = reply.headers.get("X-PixelFactory-Job")
        seen.outcome, seen.urls = Outcome.COMPLETED, [reply.body["output"]]
    else:
        note_images(seen, reply)


async def pixazo_queue(caller: Caller, http: aiohttp.ClientSession, seen: Observation) -> None:
    body = {"prompt": f"operation {seen.number}", "image_size": "square", "num_inference_steps": 4}
    seen.expected_images = 1
    reply = await caller.send_once(http, seen, "/flux-dev/v1/dev/textToImage", body)
    if reply is None:
        return
    if reply.status != 202:
        return note_images(seen, reply)
    seen.job_id, seen.can_ask = reply.headers["X-PixelFactory-Job"], True
    view = await caller.poll(http, seen, f"/v2/requests/status/{reply.body['request_id']}")
    output = view.get("output") or {}
    seen.urls = list(output.get("media_url") or [])


async def read_account(caller: Caller, http: aiohttp.ClientSession, seen: Observation) -> None:
    """Reads that change nothing: they succeed whenever the service is up."""
    path = caller.rng.choice(
        ("/api/v1/billing/balance", "/api/v1/jobs", "/api/v1/images/models", "/v1/account/usage")
    )
    await caller.rig.up.wait()
    try:
        reply = await caller.send(http, path, None, method="GET")
    except LOST as error:
        seen.outcome, seen.detail = Outcome.LOST, type(error).__name__
    else:
        seen.outcome = Outcome.COMPLETED if reply.status == 200 else Outcome.REFUSED
        seen.detail = f"{reply.status} {path}"


async def quote(caller: Caller, http: aiohttp.ClientSession, seen: Observation) -> None:
    body = caller.image_body(seen)
    seen.expected_images = 0
    reply = await caller.send_once(http, seen, "/api/v1/quote", body)
    if reply is not None:
        seen.outcome = Outcome.COMPLETED if reply.status == 200 else Outcome.REFUSED
        seen.detail = str(reply.status)


async def invalid(caller: Caller, http: aiohttp.ClientSession, seen: Observation) -> None:
    body = caller.image_body(seen, size="banana")
    seen.expected_images = 0
    note_images(seen, await caller.send_once(http, seen, "/v1/images/generations", body))


OPERATIONS: dict[str, Operation] = {
    operation.__name__: operation
    for operation in (
        *(
            wait_for_image,
            wait_with_key,
            sdk_retries,
            openai_image,
            openai_stream,
            submit_and_poll,
            same_pixels,
        ),
        *(follow_events, cancel, disconnect, with_webhook, upload, image_in_json, openai_video),
        *(pixelapi, pixeldojo, pixazo, pixazo_queue, read_account, quote, invalid),
    )
}
#: Relative frequency; 1 where nothing is said.
WEIGHTS = {"wait_for_image": 3, "wait_with_key": 3, "submit_and_poll": 3, "same_pixels": 4, "cancel": 2}
WEIGHTS |= {
    "disconnect": 2,
    "with_webhook": 3,
    "sdk_retries": 2,
    "follow_events": 2,
    "pixelapi": 2,
    "pixeldojo": 2,
}
#: Operations whose response is a job, which its caller also finds in the list of its jobs.
SUBMISSIONS = frozenset({"openai_video", "pixelapi", "pixeldojo", "pixazo_queue"})
#: Operations that make nothing.
READS = frozenset({"read_account", "quote", "invalid"})


def draw_operations(count: int, rng: random.Random) -> list[str]:
    """Return the kinds of `count` operations, each kind at least once where `count` allows it."""
    kinds = list(OPERATIONS)
    drawn = rng.choices(kinds, [WEIGHTS.get(kind, 1) for kind in kinds], k=max(count - len(kinds), 0))
    mixed = [*kinds[:count], *drawn]
    rng.shuffle(mixed)
    return mixed
