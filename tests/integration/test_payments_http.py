"""A payment provider reports to the running service."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from pricing.payments import sign_payment_webhook
from tests.integration.conftest import PAYMENT_SECRET
from tests.support.service import ServiceProcess

PATH = "/payments/checkout"


def event(account: str, checkout: str, cents: int = 500, **changes: Any) -> bytes:
    paid = {
        "id": checkout,
        "client_reference_id": account,
        "amount_total": cents,
        "currency": "usd",
        "payment_status": "paid",
    }
    return json.dumps({"type": "checkout.session.completed", "data": {"object": paid | changes}}).encode()


async def report(
    service: ServiceProcess, body: bytes, secret: str = PAYMENT_SECRET, age: timedelta = timedelta()
) -> tuple[int, Any]:
    headers = {"Stripe-Signature": sign_payment_webhook(body, secret, datetime.now(UTC) - age)}
    async with service.client() as http, http.post(PATH, data=body, headers=headers) as response:
        return response.status, await response.json()


def balance(service: ServiceProcess, account: str) -> float:
    return float(service.run("wallet", "show", account)["balance_usd"])


async def test_repeated_payment_event_is_credited_once(bank: ServiceProcess) -> None:
    account = bank.run("keys", "create")["account"]
    body = event(account, "cs_once")
    answers = await asyncio.gather(*(report(bank, body) for _ in range(20)))
    assert {status for status, _ in answers} == {200}
    assert balance(bank, account) == 5.0
    assert (await report(bank, event(account, "cs_twice", 250)))[1] == {"received": True, "booked": True}
    assert balance(bank, account) == 7.5


async def test_rejects_events_without_a_valid_signature(bank: ServiceProcess) -> None:
    account = bank.run("keys", "create")["account"]
    body = event(account, "cs_forged")
    assert (await report(bank, body, "whsec_other"))[0] == 401
    assert (await report(bank, body, age=timedelta(minutes=6)))[0] == 401
    assert (await report(bank, b""))[0] == 400
    async with bank.client() as http, http.post(PATH, data=body) as response:
        assert (await response.json())["error"]["code"] == "invalid_signature"
    assert balance(bank, account) == 0


async def test_acknowledges_and_ignores_other_events(bank: ServiceProcess) -> None:
    account = bank.run("keys", "create")["account"]
    answer = await report(bank, event(account, "cs_open", payment_status="unpaid"))
    assert answer == (200, {"received": True, "booked": False})
    assert (await report(bank, event(account, "cs_euro", currency="eur")))[0] == 400
    assert (await report(bank, event("acct_nobody", "cs_nobody")))[0] == 404
    assert balance(bank, account) == 0


async def test_same_checkout_with_another_amount_is_a_conflict(bank: ServiceProcess) -> None:
    account = bank.run("keys", "create")["account"]
    await report(bank, event(account, "cs_changed"))
    assert (await report(bank, event(account, "cs_changed", 5_000)))[0] == 409
    assert balance(bank, account) == 5.0


async def test_payments_are_not_found_without_a_secret(service: ServiceProcess) -> None:
    assert (await report(service, event("acct", "cs")))[0] == 404
