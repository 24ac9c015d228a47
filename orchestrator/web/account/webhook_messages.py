"""`/api/v1/webhooks`: webhook messages of the caller's account, their deliveries, and the signing secret."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from pydantic import Field

from orchestrator.errors import NotFound
from orchestrator.store import WebhookMessage
from orchestrator.store.outbox import OutboxStore
from orchestrator.web.auth import Authenticator
from orchestrator.web.http.queries import parse_limit
from orchestrator.web.http.response_model import IsoDatetime, ResponseModel, json_response
from orchestrator.web.jobs.schemas import DeliveryAttemptResponse, to_attempt_history
from orchestrator.web.openapi.operation import LIMIT_PARAM, openapi_operation
from orchestrator.web.protocols import Clock
from orchestrator.webhooks.sender import MESSAGE_ID_PREFIX, SigningSecrets

#: Largest id that the store can hold.
MAX_MESSAGE_ID = 2**63 - 1


class WebhookMessageResponse(ResponseModel):
    """A webhook message and its delivery status."""

    id: str = Field(description="Id of the message, sent as `webhook-id`.", examples=["msg_1041"])
    type: str = Field(description="Kind of message.", examples=["job.succeeded"])
    data: dict[str, Any] = Field(
        description="Data stored with the message. Deliveries of `job.*` messages carry the whole job.",
        examples=[{"jobId": "job_3f2a9c0d5b7e4f1a8c6d2e9b0a4f7c31"}],
    )
    url: str | None = Field(
        description="Receiver; null: the message is only listed.", examples=["https://example.com/webhook"]
    )
    created_at: IsoDatetime = Field(description="When the message was created.")
    attempts: int = Field(
        description="Number of all delivery attempts, also of those before a replay.", examples=[1]
    )
    delivered_at: IsoDatetime | None = Field(description="When it was delivered; null: not yet.")
    next_attempt_at: IsoDatetime | None = Field(
        description="When the next attempt is due; null: there is none.", examples=[None]
    )
    error: str | None = Field(description="Error of the last attempt; null: none.", examples=[None])


class WebhookMessageDetails(WebhookMessageResponse):
    """A webhook message with all delivery attempts."""

    history: list[DeliveryAttemptResponse] = Field(description="All attempts, oldest first.")


class WebhookMessageList(ResponseModel):
    """The latest webhook messages, newest first."""

    messages: list[WebhookMessageResponse] = Field(description="The messages.")


class SigningSecret(ResponseModel):
    """The secret that signs the account's webhooks (Standard Webhooks)."""

    secret: str = Field(
        description="`whsec_` and the base64 of the key.",
        examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw8m5yZ0u1Zk4="],
    )


class WebhookMessageRoutes:
    """Routes of webhook messages and signing secrets."""

    def __init__(
        self, store: OutboxStore, secrets: SigningSecrets, clock: Clock, authenticate: Authenticator
    ) -> None:
        self._store = store
        self._secrets = secrets
        self._clock = clock
        self._authenticate = authenticate

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/v1/webhooks/messages", self.list_messages),
            web.get("/api/v1/billing/messages", self.list_messages),
            web.get("/api/v1/webhooks/messages/{id}", self.get_message),
            web.post("/api/v1/webhooks/messages/{id}/replay", self.replay_message),
            web.get("/api/v1/webhooks/secret", self.get_signing_secret),
            web.post("/api/v1/webhooks/secret/rotate", self.rotate_signing_secret),
        ]

    @openapi_operation(
        summary="List recent webhook deliveries",
        description="Returns the latest webhook messages of the account and their delivery status.",
        query={"limit": LIMIT_PARAM},
        response=WebhookMessageList,
    )
    async def list_messages(self, request: web.Request) -> web.Response:
        """Return the caller's latest messages."""
        key = await self._authenticate(request)
        messages = await self._store.list_messages(key.account.id, parse_limit(request))
        return json_response(WebhookMessageList(messages=[to_message_response(one) for one in messages]))

    @openapi_operation(
        summary="Get a webhook delivery",
        description="Returns a webhook message with all attempts to deliver it.",
        response=WebhookMessageDetails,
    )
    async def get_message(self, request: web.Request) -> web.Response:
        """Return one of the caller's messages."""
        message = await self._get_own_message(request)
        history = to_attempt_history(message.delivery_attempts)
        return json_response(WebhookMessageDetails(**dict(to_message_response(message)), history=history))

    @openapi_operation(
        summary="Send a webhook again",
        description="Sends a webhook message again under the same id, even if it was delivered before.",
        response=WebhookMessageResponse,
        response_description="The message, due for delivery.",
    )
    async def replay_message(self, request: web.Request) -> web.Response:
        """Make one of the caller's messages due again."""
        message = await self._get_own_message(request)
        return json_response(to_message_response(await self._store.replay_message(message.id, self._clock())))

    @openapi_operation(
        summary="Get the webhook signing secret",
        description="Returns the secret that signs the account's webhooks by the Standard Webhooks "
        "specification. It is created by the first request.",
        response=SigningSecret,
    )
    async def get_signing_secret(self, request: web.Request) -> web.Response:
        """Return the caller's newest signing secret."""
        key = await self._authenticate(request)
        newest, *_ = await self._secrets.get_or_create(key.account.id)
        return json_response(SigningSecret(secret=newest))

    @openapi_operation(
        summary="Rotate the webhook signing secret",
        description="Creates a new signing secret. For one day, messages are signed with the old one too.",
        response=SigningSecret,
        response_description="The new secret.",
    )
    async def rotate_signing_secret(self, request: web.Request) -> web.Response:
        """Create a new signing secret for the caller's account."""
        key = await self._authenticate(request)
        return json_response(SigningSecret(secret=await self._secrets.rotate(key.account.id)))

    async def _get_own_message(self, request: web.Request) -> WebhookMessage:
        """Return the message in the path. Raises NotFound."""
        key = await self._authenticate(request)
        message_id = request.match_info["id"]
        number = message_id.removeprefix(MESSAGE_ID_PREFIX)
        digits = number.isascii() and number.isdecimal() and len(number) <= len(str(MAX_MESSAGE_ID))
        if not digits or int(number) > MAX_MESSAGE_ID:
            raise NotFound(f"Webhook message {message_id[:40]!r} does not exist", code="message_not_found")
        return await self._store.get_message(key.account.id, int(number))


def to_message_response(message: WebhookMessage) -> WebhookMessageResponse:
    """Return a message as its account sees it."""
    return WebhookMessageResponse(
        id=f"{MESSAGE_ID_PREFIX}{message.id}",
        type=message.topic,
        data=dict(message.payload),
        url=message.url,
        created_at=message.created_at,
        attempts=message.total_attempts,
        delivered_at=message.delivered_at,
        next_attempt_at=message.due_at,
        error=message.error,
    )
