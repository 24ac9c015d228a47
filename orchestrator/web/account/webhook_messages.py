"""What the service has told an account's receivers, try by try, and the secret that it is signed with."""

from __future__ import annotations

from aiohttp import web

from orchestrator.errors import NotFound
from orchestrator.service import GenerationService
from orchestrator.store import WebhookMessage
from orchestrator.web.account.billing_schemas import (
    SigningSecret,
    WebhookMessageDetails,
    WebhookMessageList,
    WebhookMessageResponse,
)
from orchestrator.web.auth import Authenticator
from orchestrator.web.http.queries import parse_limit
from orchestrator.web.openapi.operation import LIMIT_PARAM, openapi_operation
from orchestrator.webhooks.sender import (
    MESSAGE_ID_PREFIX,
    SigningSecrets,
    to_attempt_history,
    to_message_response,
)

MAX_MESSAGE_ID = 2**63 - 1


class WebhookMessageRoutes:
    """`/api/v1/webhooks/...`: the outbox as its account sees it."""

    def __init__(self, service: GenerationService, authenticate: Authenticator) -> None:
        self._store = service.store
        self._clock = service.clock
        self._authenticate = authenticate
        self._secrets = SigningSecrets(service.store, service.clock)

    def routes(self) -> list[web.RouteDef]:
        return [
            *(web.get(f"/api/v1/{room}/messages", self.list_messages) for room in ("webhooks", "billing")),
            web.get("/api/v1/webhooks/messages/{id}", self.get_message),
            web.post("/api/v1/webhooks/messages/{id}/replay", self.replay_message),
            web.get("/api/v1/webhooks/secret", self.get_signing_secret),
            web.post("/api/v1/webhooks/secret/rotate", self.rotate_signing_secret),
        ]

    @openapi_operation(query={"limit": LIMIT_PARAM}, response=WebhookMessageList)
    async def list_messages(self, request: web.Request) -> web.Response:
        """What was said of late, and whether it arrived."""
        key = await self._authenticate(request)
        found = await self._store.list_messages(key.account.id, parse_limit(request))
        return web.json_response({"messages": [to_message_response(message) for message in found]})

    @openapi_operation(response=WebhookMessageDetails)
    async def get_message(self, request: web.Request) -> web.Response:
        """One message, with each try to deliver it."""
        message = await self._get_own_message(request)
        return web.json_response(
            {**to_message_response(message), "history": to_attempt_history(message.delivery_attempts)}
        )

    @openapi_operation(response=WebhookMessageResponse)
    async def replay_message(self, request: web.Request) -> web.Response:
        """Sends a message once more, under the same id."""
        message = await self._get_own_message(request)
        return web.json_response(
            to_message_response(await self._store.replay_message(message.id, self._clock()))
        )

    @openapi_operation(response=SigningSecret)
    async def get_signing_secret(self, request: web.Request) -> web.Response:
        """What the account's webhooks are signed with."""
        key = await self._authenticate(request)
        return web.json_response({"secret": (await self._secrets.get_or_create(key.account.id))[0]})

    @openapi_operation(response=SigningSecret)
    async def rotate_signing_secret(self, request: web.Request) -> web.Response:
        """Another secret; for a day the old one signs too."""
        key = await self._authenticate(request)
        return web.json_response({"secret": await self._secrets.rotate(key.account.id)})

    async def _get_own_message(self, request: web.Request) -> WebhookMessage:
        key = await self._authenticate(request)
        number = request.match_info["id"].removeprefix(MESSAGE_ID_PREFIX)
        if not (number.isascii() and number.isdecimal() and int(number) <= MAX_MESSAGE_ID):
            raise NotFound("There is no such message", code="message_not_found")
        return await self._store.get_message(key.account.id, int(number))
