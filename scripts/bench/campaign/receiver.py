"""A webhook receiver that can be away, hang or fail."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from standardwebhooks.webhooks import Webhook, WebhookVerificationError


@dataclass
class Receiver:
    """Listens on a fixed port of the loopback interface. `mode`: ok, hang or error."""

    port: int
    mode: str = "ok"
    #: Signing secret by account number.
    secrets: dict[int, str] = field(default_factory=dict)
    #: Accepted messages by job id, each a pair of message id and status.
    messages: dict[str, set[tuple[str, str]]] = field(default_factory=lambda: defaultdict(set))
    wrongly_signed: int = 0
    _runner: web.AppRunner | None = None

    def url(self, account: int) -> str:
        return f"http://127.0.0.1:{self.port}/{account}"

    async def start(self) -> None:
        if self._runner is None:
            app = web.Application()
            app.router.add_post("/{account}", self._receive)
            self._runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
            await self._runner.setup()
            await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        if self.mode == "hang":
            await asyncio.sleep(60)
            return web.Response(status=500)  # The sender has given up.
        if self.mode == "error":
            return web.Response(status=500)
        try:
            Webhook(self.secrets[int(request.match_info["account"])]).verify(body, dict(request.headers))
        except WebhookVerificationError:
            self.wrongly_signed += 1
            return web.Response(status=401)
        data: dict[str, Any] = json.loads(body).get("data", {})
        if job_id := data.get("jobId"):
            self.messages[str(job_id)].add((request.headers["webhook-id"], str(data.get("status"))))
        return web.Response(status=204)
