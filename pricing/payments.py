"""Payments that a provider reports by a signed webhook, in the shape of Stripe's checkout events.

    Stripe-Signature: t=1700000000,v1=<hex HMAC-SHA256 of "t.body" under the endpoint's secret>
    {"type": "checkout.session.completed", "data": {"object": {"id": "cs_...", "payment_status": "paid",
     "client_reference_id": "<account id>", "amount_total": 500, "currency": "usd"}}}

Nothing here is believed before its signature is checked. A payment's reference is the checkout's own id,
so an event that is sent again, or replayed, is booked once.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pricing.money import MAX_MICROS, MICROS_PER_CENT, format_usd

#: Largest difference between the signature's time and now.
SIGNATURE_TOLERANCE = timedelta(minutes=5)
#: Events of a paid checkout; the second is for delayed payment methods.
PAID_EVENTS = frozenset({"checkout.session.completed", "checkout.session.async_payment_succeeded"})

_TIMESTAMP_PATTERN = re.compile(r"[0-9]{1,12}", re.ASCII)


class PaymentError(ValueError):
    """The webhook's signature or content is invalid; `code` is machine-readable."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, kw_only=True, slots=True)
class Payment:
    """A received payment for an account."""

    account_id: str
    micros: int
    #: The provider's checkout id; each is booked once.
    reference: str


def sign_payment_webhook(body: bytes, secret: str, now: datetime) -> str:
    """Return the signature header that the provider would send."""
    stamp = str(int(now.timestamp()))
    return f"t={stamp},v1={_hmac_sha256(stamp, body, secret)}"


def verify_payment_webhook(body: bytes, header: str, secret: str, now: datetime) -> None:
    """Raise PaymentError unless one signature of the header is valid and recent."""
    if not secret:
        raise PaymentError("invalid_signature", "There is no secret to check the signature with.")
    fields = [part.strip().partition("=")[::2] for part in header.split(",")]
    stamps = [value for name, value in fields if name == "t"]
    if len(stamps) != 1 or _TIMESTAMP_PATTERN.fullmatch(stamps[0]) is None:
        raise PaymentError("invalid_signature", "The signature header has no time stamp.")
    expected = _hmac_sha256(stamps[0], body, secret).encode()
    given = [value.encode("utf-8", "replace") for name, value in fields if name == "v1"]
    if not any(hmac.compare_digest(expected, signature) for signature in given):
        raise PaymentError("invalid_signature", "The signature does not match.")
    if abs(now.timestamp() - int(stamps[0])) > SIGNATURE_TOLERANCE.total_seconds():
        raise PaymentError("stale_signature", "The signature is too old.")


def parse_payment_webhook(body: bytes) -> Payment | None:
    """Return the payment that a verified event reports; None for other events.

    Raises PaymentError.
    """
    try:
        event: Any = json.loads(body)
        if event["type"] not in PAID_EVENTS or event["data"]["object"]["payment_status"] != "paid":
            return None
        checkout = event["data"]["object"]
        cents, currency = checkout["amount_total"], checkout["currency"]
        account_id, reference = checkout["client_reference_id"], checkout["id"]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise PaymentError("invalid_event", "The event has not the shape of a checkout.") from error
    if currency != "usd":
        raise PaymentError("invalid_currency", f"Wallets are kept in dollars, not in {currency!r}.")
    if type(cents) is not int or cents <= 0:
        raise PaymentError("invalid_amount", f"{str(cents)[:40]!r} is not a number of cents.")
    if cents > MAX_MICROS // MICROS_PER_CENT:
        raise PaymentError("invalid_amount", f"A payment is at most {format_usd(MAX_MICROS)}.")
    if not (isinstance(account_id, str) and account_id and isinstance(reference, str) and reference):
        raise PaymentError("invalid_event", "The event names no account or no checkout.")
    return Payment(account_id=account_id, micros=cents * MICROS_PER_CENT, reference=reference)


def _hmac_sha256(timestamp: str, body: bytes, secret: str) -> str:
    return hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
