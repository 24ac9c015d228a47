"""`POST /payments/checkout`: the payment provider reports a completed checkout."""

from __future__ import annotations

import logging
from typing import Literal, Protocol

from aiohttp import web
from pydantic import Field, SecretStr

from orchestrator.errors import InvalidRequest, NotAuthenticated
from orchestrator.store.protocol import AccountStore, WalletStore
from orchestrator.web.auth import AUTH_CONTEXT
from orchestrator.web.http.bodies import read_body
from orchestrator.web.http.errors import unknown_url
from orchestrator.web.http.response_model import ResponseModel, json_response
from orchestrator.web.openapi.operation import Access, ParameterSpec, openapi_operation
from orchestrator.web.protocols import Clock
from pricing.payments import PaymentError, parse_payment_webhook, verify_payment_webhook

log = logging.getLogger(__name__)

SIGNATURE_HEADER = "Stripe-Signature"
SIGNATURE_PARAM = ParameterSpec({"type": "string"}, "Signature of the event, `t=TIMESTAMP,v1=HEX`.")
#: Largest event, in bytes; the sender proves who it is by a signature of the whole body.
MAX_EVENT_BYTES = 256 * 1024


class PaymentReceipt(ResponseModel):
    """The event was received."""

    received: Literal[True] = Field(description="Always true.")
    booked: bool = Field(description="Whether the event was a payment; other events are ignored.")


class PaymentStore(AccountStore, WalletStore, Protocol):
    """Accounts and their wallets."""


class PaymentRoutes:
    """Verifies signed payment events and credits each payment once."""

    def __init__(self, store: PaymentStore, clock: Clock, webhook_secret: SecretStr | None) -> None:
        """Without `webhook_secret`, payments are off and the route answers 404."""
        self._store = store
        self._clock = clock
        self._webhook_secret = webhook_secret.get_secret_value() if webhook_secret else None

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/payments/checkout", self.receive_checkout_webhook)]

    @openapi_operation(
        summary="Receive a checkout event",
        description="Called by the payment provider (Stripe) with a signed event. A completed checkout is "
        "credited to the account that it names, once; events of other kinds are acknowledged and ignored.",
        response=PaymentReceipt,
        headers={SIGNATURE_HEADER: SIGNATURE_PARAM},
        other_responses={
            401: "The signature is missing, wrong or too old.",
            404: "Payments are not configured, or the account does not exist.",
        },
        access=Access.NONE,
    )
    async def receive_checkout_webhook(self, request: web.Request) -> web.Response:
        """Credit a payment. Answers 200 for every event that need not be sent again."""
        if self._webhook_secret is None:
            raise unknown_url(request)
        body = await self._read_verified_body(request, self._webhook_secret)
        try:
            payment = parse_payment_webhook(body)
        except PaymentError as error:
            raise InvalidRequest(str(error), code=error.code) from error
        if payment is None:
            return json_response(PaymentReceipt(received=True, booked=False))
        account = await self._store.resolve_account(payment.account_id)
        await self._store.credit(account.id, payment.micros, f"checkout {payment.reference}", self._clock())
        log.info(
            "account %s paid %d micro-dollars",
            account.id,
            payment.micros,
            extra={"action": "payment", "account_id": account.id},
        )
        return json_response(PaymentReceipt(received=True, booked=True))

    async def _read_verified_body(self, request: web.Request, secret: str) -> bytes:
        """Return the body once its signature is verified.

        Raises NotAuthenticated, RateLimited, and what `read_body` raises.
        """
        body = await read_body(request, MAX_EVENT_BYTES)
        try:
            verify_payment_webhook(body, request.headers.get(SIGNATURE_HEADER, ""), secret, self._clock())
        except PaymentError as error:
            await request.app[AUTH_CONTEXT].rate_limiter.count_auth_failure(request)
            raise NotAuthenticated(str(error), code=error.code) from error
        return body
