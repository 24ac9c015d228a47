"""What the service has told an account's receivers, try by try, and the secret that it is signed with."""

from __future__ import annotations

from aiohttp import web

from orchestrator.errors import NotFound
from orchestrator.service import Service
from orchestrator.store import WebhookMessage
from orchestrator.web.account.billing_schemas import OutboxMessage, OutboxMessages, SigningSecret, ToldMessage
from orchestrator.web.auth import Enter
from orchestrator.web.http.queries import limit
from orchestrator.web.openapi.operation import LIMIT, describes
from orchestrator.webhooks.sender import MESSAGE, Secrets, history, view

MAX_ID = 2**63 - 1


class Messages:
    """`/api/v1/webhooks/...`: the outbox as its account sees it."""

    def __init__(self, service: Service, enter: Enter) -> None:
        self._store = service.store
        self._clock = service.clock
        self._enter = enter
        self._secrets = Secrets(service.store, service.clock)

    def routes(self) -> list[web.RouteDef]:
        return [
            *(web.get(f"/api/v1/{room}/messages", self.list) for room in ("webhooks", "billing")),
            web.get("/api/v1/webhooks/messages/{id}", self.get),
            web.post("/api/v1/webhooks/messages/{id}/replay", self.replay),
            web.get("/api/v1/webhooks/secret", self.secret),
            web.post("/api/v1/webhooks/secret/rotate", self.rotate_secret),
        ]

    @describes(query={"limit": LIMIT}, answer=OutboxMessages)
    async def list(self, request: web.Request) -> web.Response:
        """What was said of late, and whether it arrived."""
        key = await self._enter(request)
        found = await self._store.list_messages(key.account.id, limit(request))
        return web.json_response({"messages": [view(message) for message in found]})

    @describes(answer=ToldMessage)
    async def get(self, request: web.Request) -> web.Response:
        """One message, with each try to deliver it."""
        message = await self._own(request)
        return web.json_response({**view(message), "history": history(message.delivery_attempts)})

    @describes(answer=OutboxMessage)
    async def replay(self, request: web.Request) -> web.Response:
        """Sends a message once more, under the same id."""
        message = await self._own(request)
        return web.json_response(view(await self._store.replay_message(message.id, self._clock())))

    @describes(answer=SigningSecret)
    async def secret(self, request: web.Request) -> web.Response:
        """What the account's webhooks are signed with."""
        key = await self._enter(request)
        return web.json_response({"secret": (await self._secrets.of(key.account.id))[0]})

    @describes(answer=SigningSecret)
    async def rotate_secret(self, request: web.Request) -> web.Response:
        """Another secret; for a day the old one signs too."""
        key = await self._enter(request)
        return web.json_response({"secret": await self._secrets.rotate(key.account.id)})

    async def _own(self, request: web.Request) -> WebhookMessage:
        key = await self._enter(request)
        number = request.match_info["id"].removeprefix(MESSAGE)
        if not (number.isascii() and number.isdecimal() and int(number) <= MAX_ID):
            raise NotFound("There is no such message", code="message_not_found")
        return await self._store.get_message(key.account.id, int(number))
