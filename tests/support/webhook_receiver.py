"""Somebody else's server, to which webhooks are sent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from standardwebhooks.webhooks import Webhook


@dataclass(frozen=True)
class ReceivedWebhook:
    body: bytes
    headers: dict[str, str]

    def checked(self, secret: str) -> Any:
        """The message, if it is signed with `secret`, as any receiver would check it."""
        return Webhook(secret).verify(self.body, self.headers)

    @property
    def data(self) -> Any:
        return json.loads(self.body)["data"]


@dataclass
class WebhookReceiver:
    url: str = ""
    #: What the next requests are answered with; 200 when there is nothing left. 0: not at all; -1: the
    #: connection is closed without a response.
    statuses: list[int] = field(default_factory=list)
    deliveries: asyncio.Queue[ReceivedWebhook] = field(default_factory=asyncio.Queue)

    async def next(self, seconds: float = 20) -> ReceivedWebhook:
        return await asyncio.wait_for(self.deliveries.get(), seconds)

    async def handle(self, request: web.Request) -> web.Response:
        status = self.statuses.pop(0) if self.statuses else 200
        await self.deliveries.put(ReceivedWebhook(await request.read(), dict(request.headers)))
        if status == 0:
            await asyncio.Event().wait()
        if status == -1 and request.transport is not None:
            request.transport.abort()
        headers = {"Location": self.url} if status == 302 else {}
        return web.Response(status=max(status, 200), headers=headers)


@asynccontextmanager
async def receiving(*statuses: int) -> AsyncIterator[WebhookReceiver]:
    receiver = WebhookReceiver(statuses=list(statuses))
    app = web.Application()
    app.router.add_post("/", receiver.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        yield receiver
    finally:
        await runner.cleanup()
