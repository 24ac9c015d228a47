"""`POST /payments/checkout`: the payment provider reports that somebody has paid."""

from __future__ import annotations

import logging

from aiohttp import web
from pydantic import SecretStr

from orchestrator.errors import InvalidRequest, NotAuthenticated, NotFound
from orchestrator.service import GenerationService
from orchestrator.web.account.billing_schemas import PaymentReceipt
from orchestrator.web.auth import AUTH_CONTEXT
from orchestrator.web.openapi.operation import Access, openapi_operation
from pricing.payments import PaymentError, parse_payment_webhook, verify_payment_webhook

log = logging.getLogger(__name__)

SIGNATURE_HEADER = "Stripe-Signature"
MAX_EVENT_BYTES = 256 * 1024


class PaymentRoutes:
    """Believes what is signed, books it once, and answers so that the provider stops repeating itself."""

    def __init__(self, service: GenerationService, webhook_secret: SecretStr | None) -> None:
        """Without a secret nothing is believed, and there is nothing at the address."""
        self._store = service.store
        self._clock = service.clock
        self._webhook_secret = webhook_secret.get_secret_value() if webhook_secret else None

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/payments/checkout", self.receive_checkout_webhook)]

    @openapi_operation(response=PaymentReceipt, access=Access.NONE)
    async def receive_checkout_webhook(self, request: web.Request) -> web.Response:
        """200 for everything that need not be sent again, booked or none of our business."""
        if self._webhook_secret is None:
            raise NotFound("There is nothing at this address", code="unknown_url")
        body = await self._read_verified_body(request, self._webhook_secret)
        try:
            payment = parse_payment_webhook(body)
        except PaymentError as error:
            raise InvalidRequest(str(error), code=error.code) from error
        if payment is None:
            return web.json_response({"received": True, "booked": False})
        reference = f"checkout {payment.reference}"
        account = await self._store.resolve_account(payment.account_id)
        await self._store.credit(account.id, payment.micros, reference, self._clock())
        log.info(
            "account %s paid %d micro-dollars",
            account.id,
            payment.micros,
            extra={"action": "payment", "account_id": account.id},
        )
        return web.json_response({"received": True, "booked": True})

    async def _read_verified_body(self, request: web.Request, secret: str) -> bytes:
        """The body, as it was signed. Raises NotAuthenticated, InvalidRequest, RateLimited."""
        if (request.content_length or 0) > MAX_EVENT_BYTES:
            raise InvalidRequest("The event is too large", code="payload_too_large")
        body = await request.content.read(MAX_EVENT_BYTES + 1)
        try:
            verify_payment_webhook(body, request.headers.get(SIGNATURE_HEADER, ""), secret, self._clock())
        except PaymentError as error:
            await request.app[AUTH_CONTEXT].rate_limiter.count_auth_failure(request)
            raise NotAuthenticated(str(error), code=error.code) from error
        return body
