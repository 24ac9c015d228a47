from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing.payments import (
    SIGNATURE_TOLERANCE,
    Payment,
    PaymentError,
    parse_payment_webhook,
    sign_payment_webhook,
    verify_payment_webhook,
)

NOW = datetime(2026, 3, 1, tzinfo=UTC)
SECRET = "whsec_test"
CHECKOUT = {
    "id": "cs_1",
    "client_reference_id": "acct_1",
    "amount_total": 500,
    "currency": "usd",
    "payment_status": "paid",
}


def event(type: str = "checkout.session.completed", **changes: Any) -> bytes:
    return json.dumps({"type": type, "data": {"object": {**CHECKOUT, **changes}}}).encode()


def test_a_signed_event_is_believed() -> None:
    body = event()
    header = sign_payment_webhook(body, SECRET, NOW)
    verify_payment_webhook(body, header, SECRET, NOW)
    verify_payment_webhook(body, f"v1=old,{header},v0=other", SECRET, NOW + SIGNATURE_TOLERANCE)
    assert parse_payment_webhook(body) == Payment(account_id="acct_1", micros=5_000_000, reference="cs_1")


def test_a_signature_is_what_anybody_else_computes() -> None:
    """Made with OpenSSL: `printf '1700000000.{}' | openssl dgst -sha256 -hmac whsec_test`."""
    mac = "35495024f4ef3f94e5a93e22221544c4b75e9a42300cd965ab81cb85cd994e91"
    assert (
        sign_payment_webhook(b"{}", SECRET, datetime.fromtimestamp(1_700_000_000, UTC))
        == f"t=1700000000,v1={mac}"
    )


@pytest.mark.parametrize(
    ("body", "secret", "age", "code"),
    [
        (event(amount_total=50_000), SECRET, timedelta(0), "invalid_signature"),
        (event(), "whsec_other", timedelta(0), "invalid_signature"),
        (event(), SECRET, SIGNATURE_TOLERANCE + timedelta(seconds=1), "stale_signature"),
        (event(), SECRET, -SIGNATURE_TOLERANCE - timedelta(seconds=1), "stale_signature"),
    ],
)
def test_rejects_forged_and_old_events(body: bytes, secret: str, age: timedelta, code: str) -> None:
    header = sign_payment_webhook(event(), SECRET, NOW)
    with pytest.raises(PaymentError) as caught:
        verify_payment_webhook(body, header, secret, NOW + age)
    assert caught.value.code == code


@given(st.text())
def test_no_made_up_header_is_believed(header: str) -> None:
    with pytest.raises(PaymentError):
        verify_payment_webhook(event(), header, SECRET, NOW)


@pytest.mark.parametrize("stamp", ["", "x", "-1", "1" * 5_000, "1,t=1"])
def test_a_time_stamp_is_a_number(stamp: str) -> None:
    with pytest.raises(PaymentError, match="no time stamp"):
        verify_payment_webhook(event(), f"t={stamp},v1=00", SECRET, NOW)


@pytest.mark.parametrize(
    "body",
    [event("customer.created"), event(payment_status="unpaid"), event("checkout.session.expired")],
)
def test_other_events_are_no_payment(body: bytes) -> None:
    assert parse_payment_webhook(body) is None


def test_a_slow_payment_counts_when_it_arrives() -> None:
    payment = parse_payment_webhook(event("checkout.session.async_payment_succeeded"))
    assert payment is not None
    assert payment.reference == "cs_1"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "invalid_event"),
        (b"\xff", "invalid_event"),
        (b"[]", "invalid_event"),
        (b'{"type": "checkout.session.completed"}', "invalid_event"),
        (event(client_reference_id=None), "invalid_event"),
        (event(id=""), "invalid_event"),
        (event(currency="eur"), "invalid_currency"),
        (event(amount_total=0), "invalid_amount"),
        (event(amount_total=True), "invalid_amount"),
        (event(amount_total=5.5), "invalid_amount"),
        (event(amount_total=100_000_001), "invalid_amount"),
        (event(amount_total=10**20), "invalid_amount"),
    ],
)
def test_an_unknown_event_is_explained(body: bytes, code: str) -> None:
    with pytest.raises(PaymentError) as caught:
        parse_payment_webhook(body)
    assert caught.value.code == code
