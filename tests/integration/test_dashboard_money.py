"""Billing and API keys with a session: the same rules as with an API key."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest

from tests.integration.test_dashboard import API, ask, browser, sign_in
from tests.support.service import ServiceProcess

TERMS = {"watch": "balance", "threshold_usd": 1}


async def new_key(service: ServiceProcess, **terms: Any) -> dict[str, Any]:
    """Create a key as an operator."""
    async with service.client(service.admin_token) as http:
        status, made = await ask(http, "POST", "/admin/v1/keys", json={"name": "tester", **terms})
        assert status == 201
        return made


def code(response: tuple[int, dict[str, Any]]) -> tuple[int, str]:
    """Return the status and the error code of a response."""
    return response[0], response[1]["error"]["code"]


@pytest.fixture
async def mine(service: ServiceProcess) -> AsyncIterator[tuple[aiohttp.ClientSession, dict[str, Any]]]:
    """A browser that is signed in with a new key, and that key."""
    made = await new_key(service, credit_usd="5.00", plan="pro")
    async with browser(service) as http:
        assert await sign_in(http, made["key"]) == 204
        yield http, made


Mine = tuple[aiohttp.ClientSession, dict[str, Any]]


async def test_billing_api_responds_alike_to_a_session_and_its_key(
    service: ServiceProcess, mine: Mine
) -> None:
    http, made = mine
    async with service.client(made["key"]) as client:
        for path in ("billing/balance", "billing/ledger?limit=1", "billing/usage?by=day", "webhooks/secret"):
            assert await ask(http, "GET", f"{API}/{path}") == await ask(client, "GET", f"/api/v1/{path}")


async def test_plan_shows_credits_left_and_renewal(mine: Mine) -> None:
    _, plan = await ask(mine[0], "GET", f"{API}/billing/plan")
    assert plan.items() >= {"id": "pro", "price_usd": 29, "allowance_usd": 6, "left_usd": 6}.items()
    assert 27 <= (datetime.fromisoformat(plan["renews_at"]) - datetime.now(UTC)).days <= 31


async def test_account_lists_fired_alerts_until_they_are_removed(mine: Mine) -> None:
    http, _ = mine
    assert (await ask(http, "GET", f"{API}/account"))[1]["alerts"] == []
    await ask(http, "POST", f"{API}/billing/alerts", json=TERMS)
    _, fired = await ask(http, "POST", f"{API}/billing/alerts", json=TERMS | {"threshold_usd": 50})
    assert (await ask(http, "GET", f"{API}/account"))[1]["alerts"] == [fired]
    async with http.delete(f"{API}/billing/alerts/{fired['id']}") as response:
        assert response.status == 204
    assert (await ask(http, "GET", f"{API}/account"))[1]["alerts"] == []


async def test_creates_rotates_and_revokes_keys(service: ServiceProcess, mine: Mine) -> None:
    http, _ = mine
    terms = {"name": "night", "models": ["flux-schnell"], "daily_cap_usd": "2", "scopes": ["read"]}
    status, made = await ask(http, "POST", f"{API}/keys", json=terms)
    assert (status, made["models"], made["state"]) == (201, ["flux-1-schnell"], "active")
    status, fresh = await ask(http, "POST", f"{API}/keys/{made['id']}/rotate")
    assert (status, fresh["name"], fresh["daily_cap_usd"]) == (201, "night", 2)
    for key, status in ((made, 401), (fresh, 200)):
        async with service.client(key["key"]) as client:
            assert (await ask(client, "GET", "/api/v1/jobs"))[0] == status
    assert (await ask(http, "POST", f"{API}/keys/{fresh['id']}/revoke"))[1]["state"] == "revoked"
    assert code(await ask(http, "POST", f"{API}/keys/{fresh['id']}/rotate")) == (400, "key_revoked")
    _, listed = await ask(http, "GET", f"{API}/keys")
    assert [key["state"] for key in listed["keys"]] == ["active", "revoked", "revoked"]
    assert [key["current"] for key in listed["keys"]] == [True, False, False]
    assert not any("key" in key for key in listed["keys"])


async def test_session_continues_with_the_rotated_key(mine: Mine) -> None:
    http, made = mine
    status, fresh = await ask(http, "POST", f"{API}/keys/{made['id']}/rotate")
    assert (status, fresh["current"]) == (201, True)
    _, listed = await ask(http, "GET", f"{API}/keys")
    assert [(key["id"], key["current"]) for key in listed["keys"]] == [
        (made["id"], False),
        (fresh["id"], True),
    ]


@pytest.mark.parametrize(
    "limits",
    [
        {"scopes": ["read", "billing"]},
        {"models": ["sdxl-1.0"]},
        {"expires_at": "2099-01-01T00:00:00Z"},
        {"daily_cap_usd": 5},
        {"monthly_cap_usd": 0},
    ],
    ids=str,
)
async def test_rejects_key_changes_by_a_limited_key(service: ServiceProcess, limits: dict[str, Any]) -> None:
    made = await new_key(service, **limits)
    async with browser(service) as http:
        await sign_in(http, made["key"])
        status, listed = await ask(http, "GET", f"{API}/keys")
        assert (status, listed["may_change"], len(listed["keys"])) == (200, False, 1)
        for path in ("keys", f"keys/{made['id']}/rotate", f"keys/{made['id']}/revoke"):
            assert code(await ask(http, "POST", f"{API}/{path}")) == (403, "limited_key")


async def test_requires_the_scopes_of_the_public_api(service: ServiceProcess) -> None:
    forbidden = (403, "insufficient_scope")
    async with browser(service) as http:
        await sign_in(http, (await new_key(service, scopes=["generate"]))["key"])
        for path in ("keys", "billing/balance", "billing/plan", "billing/alerts", "webhooks/secret"):
            assert code(await ask(http, "GET", f"{API}/{path}")) == forbidden
        _, account = await ask(http, "GET", f"{API}/account")
        assert (account["scopes"], account["balance"], account["alerts"]) == (["generate"], None, [])


async def test_hides_keys_and_alerts_of_other_accounts(service: ServiceProcess, mine: Mine) -> None:
    http, made = mine
    _, alert = await ask(http, "POST", f"{API}/billing/alerts", json=TERMS)
    async with browser(service) as stranger:
        await sign_in(stranger, service.key())
        for path in (f"keys/{made['id']}/rotate", f"keys/{made['id']}/revoke", "keys/key_none/revoke"):
            assert code(await ask(stranger, "POST", f"{API}/{path}")) == (404, "not_found")
        missing = await ask(stranger, "DELETE", f"{API}/billing/alerts/{alert['id']}")
        assert code(missing) == (404, "not_found")
    assert len((await ask(http, "GET", f"{API}/keys"))[1]["keys"]) == 1


@pytest.mark.parametrize("headers", [{"Origin": "https://elsewhere.example"}, {"Origin": ""}], ids=str)
async def test_rejects_changes_of_keys_and_alerts_from_other_origins(
    mine: Mine, headers: dict[str, str]
) -> None:
    http, made = mine
    for method, path in (
        ("POST", "keys"),
        ("POST", f"keys/{made['id']}/rotate"),
        ("POST", f"keys/{made['id']}/revoke"),
        ("POST", "billing/alerts"),
        ("PUT", "billing/alerts/alert_x"),
        ("DELETE", "billing/alerts/alert_x"),
        ("POST", "webhooks/secret/rotate"),
    ):
        response = await ask(http, method, f"{API}/{path}", headers=headers, json=TERMS)
        assert code(response) == (403, "wrong_origin")


@pytest.mark.parametrize(
    ("terms", "error_code"),
    [
        ({"name": ""}, "invalid_name"),
        ({"scopes": []}, "invalid_scopes"),
        ({"scopes": ["admin"]}, "invalid_scopes"),
        ({"models": ["nothing"]}, "model_not_found"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "invalid_expires_at"),
        ({"account": "another"}, "invalid_account"),
        ({"credit_usd": 5}, "invalid_credit_usd"),
    ],
    ids=str,
)
async def test_rejects_invalid_key_limits(mine: Mine, terms: dict[str, Any], error_code: str) -> None:
    assert (await ask(mine[0], "POST", f"{API}/keys", json=terms))[1]["error"]["code"] == error_code


async def test_only_changes_count_for_the_rate_limit(service: ServiceProcess) -> None:
    made = await new_key(service, plan="free")
    async with browser(service) as http:
        await sign_in(http, made["key"])
        for _ in range(21):
            assert (await ask(http, "GET", f"{API}/keys"))[0] == 200
        responses = [await ask(http, "POST", f"{API}/keys", json={"name": ""}) for _ in range(21)]
    assert [status for status, _ in responses] == [400] * 20 + [429]


async def test_operators_have_no_wallet_and_no_keys(service: ServiceProcess) -> None:
    async with browser(service) as http:
        await sign_in(http, service.admin_token)
        for path in ("keys", "billing/balance", "account"):
            assert code(await ask(http, "GET", f"{API}/{path}")) == (403, "needs_api_key")
        for page in ("/billing", "/keys"):
            async with http.get(page, allow_redirects=False) as response:
                assert (response.status, response.headers["Location"]) == (303, "/operations")
