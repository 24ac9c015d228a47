"""A caller: an account with a key that sends requests, repeats and polls them, and notes what it is told."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

from scripts.bench.campaign.observations import Observation, Outcome
from scripts.bench.campaign.rig import CallerAccount, Rig

#: A run that hangs is interrupted after several times its estimate, in seconds of a real GPU; two may
#: hang one after the other.
OPERATION_SECONDS = 300.0
#: A caller with a key repeats a request that got no final response; the SDKs do it twice, these longer.
REPEATS = 40
LOST = (aiohttp.ClientError, ConnectionError, TimeoutError)
_DONE = {"completed": Outcome.COMPLETED, "succeeded": Outcome.COMPLETED, "failed": Outcome.FAILED}
_DONE |= {"blocked": Outcome.FAILED, "error": Outcome.FAILED, "cancelled": Outcome.CANCELLED}


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: Any

    @property
    def is_passing(self) -> bool:
        """Whether a client should send the request again."""
        return self.status in (409, 425, 429, 500, 502, 503, 504)


Operation = Callable[["Caller", aiohttp.ClientSession, Observation], Awaitable[None]]


class Caller:
    """Runs operations of one account."""

    def __init__(self, rig: Rig, account: CallerAccount, rng: random.Random) -> None:
        self.rig, self._account, self.rng = rig, account, rng
        self.finished: list[Observation] = []

    async def run(self, number: int, operation: Operation) -> Observation:
        """Run one operation, to its end or for OPERATION_SECONDS."""
        seen = Observation(number, operation.__name__, self._account.number, sent_at=time.monotonic())
        async with self.rig.client(self._account.key, seconds=120) as http:
            try:
                async with asyncio.timeout(OPERATION_SECONDS):
                    await operation(self, http, seen)
            except TimeoutError:
                seen.outcome = Outcome.STUCK
        seen.ended_at = time.monotonic()
        self.finished.append(seen)
        return seen

    def image_body(self, seen: Observation, **fields: Any) -> dict[str, Any]:
        count = fields.pop("n", self.rng.choice((1, 1, 2, 4)))
        seen.expected_images = count
        prompt = f"operation {seen.number}"
        return {
            "model": "flux-1-schnell",
            "prompt": prompt,
            "size": "256x256",
            "n": count,
            "seed": seen.number,
            "response_format": "url",
            **fields,
        }

    async def send(
        self,
        http: aiohttp.ClientSession,
        path: str,
        body: Any,
        headers: dict[str, str] | None = None,
        method: str = "POST",
    ) -> Reply:
        data = body if isinstance(body, aiohttp.FormData) else None
        document = None if data is not None else body
        async with http.request(method, path, json=document, data=data, headers=headers) as response:
            text = await response.read()
            parsed = json.loads(text) if response.content_type == "application/json" else text
            return Reply(response.status, dict(response.headers), parsed)

    async def send_until_final(
        self, http: aiohttp.ClientSession, seen: Observation, path: str, body: Any, **headers: str
    ) -> Reply:
        """Repeat with one Idempotency-Key until the response is final, or `REPEATS` responses were not.

        Only responses count: a request whose connection broke may have been accepted.
        """
        seen.idempotency_key, seen.can_ask = f"campaign-{seen.number}", True
        headers["Idempotency-Key"] = seen.idempotency_key
        attempt = 0
        while True:
            try:
                reply = await self.send(http, path, body, headers)
            except LOST:
                await asyncio.sleep(0.5)
                continue
            attempt += 1
            is_final = not reply.is_passing or reply.headers.get("X-Should-Retry") == "false"
            if is_final or attempt == REPEATS:
                return reply
            await asyncio.sleep(min(float(reply.headers.get("Retry-After", 0.2)), 1) + 0.05 * attempt)

    async def send_once(
        self, http: aiohttp.ClientSession, seen: Observation, path: str, body: Any, **headers: str
    ) -> Reply | None:
        """Send without a key and without a second try; None if the connection broke."""
        await self.rig.up.wait()
        try:
            return await self.send(http, path, body, headers)
        except LOST as error:
            seen.outcome, seen.detail = Outcome.LOST, type(error).__name__
            return None

    async def poll(self, http: aiohttp.ClientSession, seen: Observation, path: str) -> Any:
        """Poll a job, through crashes of the service, until it is finished, and note its end."""
        while True:
            try:
                reply = await self.send(http, path, None, method="GET")
            except LOST:
                await asyncio.sleep(0.3)
                continue
            status = str(reply.body.get("status", "")).lower() if isinstance(reply.body, dict) else ""
            if reply.status == 200 and status in _DONE:
                seen.outcome = _DONE[status]
                seen.detail = str(reply.body.get("error") or "")[:120]
                return reply.body
            if reply.status in (401, 404, 410):
                seen.outcome, seen.detail = Outcome.STUCK, f"polling gave {reply.status}"
                return reply.body
            await asyncio.sleep(0.1)


def note_images(seen: Observation, reply: Reply | None) -> None:
    """Note the end of a request that waits for its images, in OpenAI's shape."""
    if reply is None:
        return
    seen.job_id = reply.headers.get("X-PixelFactory-Job", seen.job_id)
    seen.detail = str(reply.status)
    if reply.status == 200:
        seen.outcome = Outcome.COMPLETED
        seen.urls = [image["url"] for image in reply.body["data"] if image.get("url")]
        seen.inline_images = sum(1 for image in reply.body["data"] if image.get("b64_json"))
    else:
        code = reply.body.get("error") if isinstance(reply.body, dict) else reply.body
        seen.detail = f"{reply.status} {code.get('code') if isinstance(code, dict) else str(code)[:80]}"
        seen.outcome = Outcome.REFUSED if reply.status < 500 or reply.status == 503 else Outcome.FAILED
