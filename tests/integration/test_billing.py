"""The caller's money over HTTP, and the same by the command line."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_keys_limits import PATH, SMALL, ask, code
from tests.support.polling import poll
from tests.support.service import ServiceProcess
from tests.support.webhook_receiver import receiving

BILLING = "/api/v1/billing"
TODAY = datetime.now(UTC).date().isoformat()


async def text(service: ServiceProcess, key: str, path: str) -> list[list[str]]:
    """A CSV answer's rows."""
    async with service.client(key) as http, http.get(path) as response:
        assert response.content_type == "text/csv"
        assert "attachment" in response.headers["Content-Disposition"]
        return list(csv.reader(io.StringIO(await response.text())))


async def buy(service: ServiceProcess, key: str, **fields: Any) -> str:
    """The id of a job that has succeeded."""
    async with service.client(key) as http, http.post(PATH, json=SMALL | fields) as response:
        assert response.status == 200, await response.text()
        return response.headers["X-PixelFactory-Job"]


async def test_usage_is_grouped_by_day_model_and_key(bank: ServiceProcess) -> None:
    made = bank.run("keys", "create", "--credit", "1", "--name", "first")
    other = bank.run("keys", "create", "--account", made["account"])
    await buy(bank, made["key"], n=2)
    await buy(bank, made["key"], model="sdxl-1.0", size="2048x2048", n=2)
    await buy(bank, other["key"])

    async def usage(query: str) -> Any:
        return (await ask(bank, made["key"], "GET", f"{BILLING}/usage?{query}"))[1]

    by_model = await usage("by=model")
    assert [(row["model"], row["jobs"], row["outputs"], row["cost_usd"]) for row in by_model["usage"]] == [
        ("flux-1-schnell", 2, 3, 0.02),
        ("sdxl-1.0", 1, 2, 0.0176),
    ]
    assert by_model["totals"].items() >= {"jobs": 3, "outputs": 5, "cost_usd": 0.0376}.items()
    assert {row["key"]: row["jobs"] for row in (await usage("by=key"))["usage"]} == {
        made["id"]: 2,
        other["id"]: 1,
    }
    assert [row["day"] for row in (await usage("by=day"))["usage"]] == [TODAY]
    assert len((await usage(""))["usage"]) == 3
    assert (await usage(f"until={TODAY}"))["totals"]["jobs"] == 0
    table = await text(bank, made["key"], f"{BILLING}/usage?by=model&format=csv")
    assert [row[0] for row in table] == ["model", "flux-1-schnell", "sdxl-1.0"]
    assert code(await ask(bank, made["key"], "GET", f"{BILLING}/usage?by=colour")) == (400, "invalid_by")
    assert code(await ask(bank, made["key"], "GET", f"{BILLING}/usage?since=never")) == (400, "invalid_since")
    report = bank.run("usage", "report", "--by", "key", "--account", made["account"])
    assert {row["key"]: row["usd"] for row in report} == {made["id"]: "0.0276", other["id"]: "0.01"}


async def test_ledger_is_paginated(bank: ServiceProcess) -> None:
    key = bank.key("1.00")
    for _ in range(3):
        await buy(bank, key)
    kinds: list[str] = []
    path = f"{BILLING}/ledger?limit=2"
    while path:
        _, page = await ask(bank, key, "GET", path)
        kinds += [entry["kind"] for entry in page["entries"]]
        path = f"{BILLING}/ledger?limit=2&cursor={page['next']}" if page["next"] else ""
    assert kinds == ["capture", "hold"] * 3 + ["credit"]
    assert code(await ask(bank, key, "GET", f"{BILLING}/ledger?cursor=x")) == (400, "invalid_cursor")
    assert code(await ask(bank, key, "GET", f"{BILLING}/ledger?limit=0")) == (400, "invalid_limit")


async def test_statement_entries_lead_from_opening_to_closing_balance(
    bank: ServiceProcess, tmp_path: Path
) -> None:
    made = bank.run("keys", "create", "--credit", "1")
    job = await buy(bank, made["key"])
    _, statement = await ask(bank, made["key"], "GET", f"{BILLING}/statement")
    assert statement["totals_usd"] == {"credit": 1.0, "hold": 0.01, "capture": 0.01}
    assert (statement["opening_usd"], statement["charged_usd"], statement["closing_usd"]) == (0.0, 0.01, 0.99)
    table = await text(bank, made["key"], f"{BILLING}/statement?format=csv")
    assert table[-1][1:5] == ["capture", "-0.01", "0.99", job]
    file = tmp_path / "statement.csv"
    row = bank.run("wallet", "statement", made["account"], "--csv", str(file))
    assert (row["closing_usd"], row["entries"]) == ("0.99", 3)
    assert list(csv.reader(io.StringIO(file.read_text()))) == table
    _, before = await ask(bank, made["key"], "GET", f"{BILLING}/statement?since=2020-01-01&until=2020-02-01")
    assert (before["closing_usd"], before["entries"]) == (0.0, 0)
    wrong = f"{BILLING}/statement?since=2020-01-01&until=2022-01-01"
    assert code(await ask(bank, made["key"], "GET", wrong)) == (400, "invalid_until")


async def test_operators_credit_grant_and_debit(bank: ServiceProcess) -> None:
    made, admin = bank.run("keys", "create"), bank.admin_token
    wallet = f"/admin/v1/wallets/{made['id']}"
    for _ in range(2):  # the same reference is booked once
        _, shown = await ask(bank, admin, "POST", f"{wallet}/credit", usd="2.00", reference="invoice 7")
    assert shown["balance_usd"] == 2.0
    assert (await ask(bank, admin, "POST", f"{wallet}/grant", usd=0.5))[1]["balance_usd"] == 2.5
    assert (await ask(bank, admin, "POST", f"{wallet}/debit", usd=1))[1]["balance_usd"] == 1.5
    assert code(await ask(bank, admin, "POST", f"{wallet}/debit", usd=9)) == (402, "insufficient_balance")
    clash = await ask(bank, admin, "POST", f"{wallet}/credit", usd="3", reference="invoice 7")
    assert code(clash) == (409, "idempotency_conflict")
    assert code(await ask(bank, admin, "POST", f"{wallet}/credit")) == (400, "missing_usd")
    assert code(await ask(bank, admin, "GET", "/admin/v1/wallets/nobody")) == (404, "not_found")
    assert code(await ask(bank, admin, "POST", "/admin/v1/wallets/nobody/steal")) == (404, "unknown_url")
    _, page = await ask(bank, admin, "GET", f"{wallet}/ledger")
    assert [entry["kind"] for entry in page["entries"]] == ["debit", "grant", "credit"]
    table = await text(bank, admin, f"{wallet}/statement?format=csv")
    assert [row[2] for row in table[1:]] == ["2.00", "0.50", "-1.00"]
    assert (await ask(bank, admin, "GET", wallet))[1]["unfinished_jobs"] == 0
    assert (await ask(bank, admin, "GET", "/admin/v1/audit"))[1] == {"in_order": True, "violations": []}


async def test_refunds_do_not_exceed_the_charge(bank: ServiceProcess) -> None:
    made, admin = bank.run("keys", "create", "--credit", "1"), bank.admin_token
    job = await buy(bank, made["key"])
    refund = f"/admin/v1/jobs/{job}/refund"
    assert (await ask(bank, admin, "POST", refund, usd="0.004"))[1]["balance_usd"] == 0.994
    too_much = await ask(bank, admin, "POST", refund, usd="0.007", reference="again")
    assert code(too_much) == (400, "invalid_amount")
    assert bank.run("wallet", "refund", job, "--reference", "rest")["balance_usd"] == 1.0
    assert bank.run("wallet", "refund", job, "--reference", "rest")["balance_usd"] == 1.0
    assert bank.run("wallet", "debit", made["id"], "0.25")["balance_usd"] == 0.75
    done = bank.command("wallet", "debit", made["id"], "5")
    assert done.returncode == 1
    assert "cannot debit $5.00, only $0.75 is available" in done.stderr
    kinds = [entry["kind"] for entry in bank.run("wallet", "history", made["account"])]
    assert kinds == ["debit", "refund", "refund", "capture", "hold", "credit"]


async def test_margin_reports_have_usage_revenue_and_cost(bank: ServiceProcess) -> None:
    key = bank.key("1.00")
    before = await metered(bank)
    async with (
        bank.client(key) as http,
        http.post(PATH, json=SMALL | {"model": "sdxl-1.0", "response_format": "b64_json"}) as answer,
    ):
        assert answer.status == 200
        id = answer.headers["X-PixelFactory-Job"]
    # What is stored and sent is recorded with the next transaction, shortly after the response.
    after = await poll(lambda: metered(bank), lambda found: found["cost_usd"] > before["cost_usd"])
    assert after["shards"] == before["shards"] + 1
    assert round(after["revenue_usd"] - before["revenue_usd"], 6) == 0.01
    assert after["margin_usd"] == round(after["revenue_usd"] - after["cost_usd"], 6)
    _, job = await ask(bank, bank.admin_token, "GET", f"/admin/v1/jobs/{id}/margin")
    assert job.items() >= {"model": "sdxl-1.0", "status": "succeeded", "revenue_usd": 0.01}.items()
    (shard,) = job["shards"]
    assert (shard["device"], shard["attempts"], len(shard["model_digest"])) == ("simulated", 1, 64)
    assert shard["bytes_stored"] > 0
    assert shard["gpu_seconds"] >= shard["load_seconds"] >= 0
    assert bank.run("usage", "job", id) == job
    table = await text(bank, bank.admin_token, "/admin/v1/margins?by=device&format=csv")
    assert "simulated" in [row[0] for row in table]

    async def reported() -> list[dict[str, Any]]:
        report = bank.run("usage", "report", "--margins", "--by", "model")
        return [next(row for row in report if row["model"] == "sdxl-1.0"), await metered(bank)]

    # Bytes that were sent are counted soon after the response.
    await poll(reported, lambda both: both[0] == both[1])
    for options in (("--margins", "--by", "key"), ("--by", "device")):
        assert bank.command("usage", "report", *options).returncode == 1


async def metered(service: ServiceProcess) -> dict[str, Any]:
    _, body = await ask(service, service.admin_token, "GET", "/admin/v1/margins?by=model")
    nothing = {"shards": 0, "revenue_usd": 0.0, "cost_usd": 0.0}
    return next((row for row in body["margins"] if row["model"] == "sdxl-1.0"), nothing)


async def test_alert_is_sent_once_per_crossing(bank: ServiceProcess) -> None:
    made = bank.run("keys", "create", "--credit", "0.05")
    key = made["key"]
    async with receiving() as receiver:
        _, alert = await ask(
            bank, key, "POST", f"{BILLING}/alerts", watch="balance", threshold_usd=0.04, url=receiver.url
        )
        assert alert.items() >= {"watch": "balance", "threshold_usd": 0.04, "fired": False}.items()
        secret = (await ask(bank, key, "GET", "/api/v1/webhooks/secret"))[1]["secret"]
        for _ in range(3):
            await buy(bank, key)
        message = (await receiver.next()).checked(secret)
        assert message["type"] == "budget.alert"
        assert message["data"].items() >= {"alert_id": alert["id"], "reading_usd": 0.03}.items()
        bank.run("wallet", "credit", made["id"], "0.04")
        await buy(bank, key)
        await buy(bank, key)
        await buy(bank, key)
        assert (await receiver.next()).checked(secret)["data"]["reading_usd"] == 0.03
        assert receiver.deliveries.empty()
        _, listed = await ask(bank, key, "GET", f"{BILLING}/messages")
        assert [one["attempts"] <= 1 for one in listed["messages"]] == [True, True]


async def test_alerts_are_created_changed_and_deleted(bank: ServiceProcess) -> None:
    made = bank.run("keys", "create", "--credit", "1")
    key, alerts = made["key"], f"{BILLING}/alerts"
    status, alert = await ask(bank, key, "POST", alerts, watch="month", threshold_usd="5")
    assert (status, alert["url"]) == (201, None)
    changed = await ask(bank, key, "PUT", f"{alerts}/{alert['id']}", threshold_usd=7.5)
    assert (changed[0], changed[1]["threshold_usd"]) == (200, 7.5)
    (listed,) = bank.run("alerts", "list", made["account"])
    assert (listed["id"], listed["threshold_usd"]) == (alert["id"], "7.50")
    stranger = bank.key()
    for method, body in (("PUT", {"threshold_usd": 1}), ("DELETE", {})):
        assert code(await ask(bank, stranger, method, f"{alerts}/{alert['id']}", **body)) == (
            404,
            "not_found",
        )
    assert (await ask(bank, key, "DELETE", f"{alerts}/{alert['id']}"))[0] == 204
    other = bank.run("alerts", "add", made["id"], "balance", "2.00")
    for url in ("http://127.1/", "http://vm:8131/", "ftp://example.com/"):
        refused = bank.command("alerts", "add", made["id"], "balance", "2.00", "--url", url)
        assert (refused.returncode, "--url cannot receive webhooks" in refused.stderr) == (1, True)
    assert other["fired"] is True
    bank.run("alerts", "remove", made["id"], other["id"])
    assert (await ask(bank, key, "GET", alerts))[1] == {"alerts": []}
    secret = (await ask(bank, key, "GET", "/api/v1/webhooks/secret"))[1]["secret"]
    rotated = (await ask(bank, key, "POST", "/api/v1/webhooks/secret/rotate"))[1]["secret"]
    assert secret != rotated == (await ask(bank, key, "GET", "/api/v1/webhooks/secret"))[1]["secret"]


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"threshold_usd": 1}, "missing_watch"),
        ({"watch": "weather", "threshold_usd": 1}, "invalid_watch"),
        ({"watch": "day"}, "missing_threshold_usd"),
        ({"watch": "day", "threshold_usd": 0}, "invalid_threshold_usd"),
        ({"watch": "day", "threshold_usd": "NaN"}, "invalid_threshold_usd"),
        ({"watch": "day", "threshold_usd": 1, "url": "ftp://example.com/"}, "invalid_url"),
        ({"watch": "day", "threshold_usd": 1, "url": "http://169.254.169.254/"}, "invalid_url"),
        ({"watch": "day", "threshold_usd": 1, "url": "http://localhost:1/"}, "invalid_url"),
        ({"watch": "day", "threshold_usd": 1, "url": "http://[::ffff:10.0.0.1]/"}, "invalid_url"),
    ],
)
async def test_rejects_invalid_alerts(
    service: ServiceProcess, key: str, body: dict[str, Any], word: str
) -> None:
    assert code(await ask(service, key, "POST", f"{BILLING}/alerts", **body)) == (400, word)
