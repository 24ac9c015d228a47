"""What a key may do, and how keys come and go: by the command line and by the operators' API."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.service import ServiceProcess

PATH = "/api/v1/images/generations"
SMALL = {"model": "flux-1-schnell", "prompt": "a cat", "size": "256x256", "response_format": "url"}


async def ask(service: ServiceProcess, key: str, method: str, path: str, **body: Any) -> tuple[int, Any]:
    """Status and body of a request; without fields it has no body."""
    async with service.client(key) as http, http.request(method, path, json=body or None) as response:
        return response.status, await response.json(content_type=None)


def code(answer: tuple[int, Any]) -> tuple[int, str]:
    return answer[0], answer[1]["error"]["code"]


async def test_key_can_do_only_what_its_scopes_allow(bank: ServiceProcess) -> None:
    account = bank.run("keys", "create", "--credit", "1")["account"]
    makes, looks, counts = (
        bank.run("keys", "create", "--account", account, "--scope", scope)["key"]
        for scope in ("generate", "read", "billing")
    )
    forbidden = (403, "insufficient_scope")
    assert (await ask(bank, makes, "POST", PATH, **SMALL))[0] == 200
    assert (await ask(bank, looks, "GET", "/api/v1/jobs"))[0] == 200
    assert (await ask(bank, counts, "GET", "/api/v1/billing/usage"))[1]["totals"]["jobs"] == 1
    assert (await ask(bank, looks, "POST", "/api/v1/quote", **SMALL))[0] == 200
    assert code(await ask(bank, looks, "POST", PATH, **SMALL)) == forbidden
    assert code(await ask(bank, counts, "POST", PATH, **SMALL)) == forbidden
    assert code(await ask(bank, makes, "GET", "/api/v1/jobs")) == forbidden
    for path in ("balance", "ledger", "usage", "statement", "alerts", "messages"):
        assert code(await ask(bank, looks, "GET", f"/api/v1/billing/{path}")) == forbidden
    assert code(await ask(bank, looks, "GET", "/api/v1/webhooks/secret")) == forbidden


async def test_key_can_use_only_its_models(bank: ServiceProcess) -> None:
    made = bank.run("keys", "create", "--credit", "1", "--model", "flux-schnell", "--model", "sdxl-1.0")
    assert made["models"] == ["flux-1-schnell", "sdxl-1.0"]
    assert (await ask(bank, made["key"], "POST", PATH, **SMALL))[0] == 200
    refused = await ask(bank, made["key"], "POST", PATH, **SMALL | {"model": "flux-1-dev"})
    assert code(refused) == (403, "model_not_allowed")


async def test_rejects_expired_keys(bank: ServiceProcess) -> None:
    made = bank.run("keys", "create", "--expires", "2020-01-31")
    assert made["expires"] == "2020-01-31T00:00:00+00:00"
    assert (await ask(bank, made["key"], "GET", "/api/v1/jobs"))[0] == 401
    fresh = bank.run("keys", "create", "--expires", "12h")
    assert (await ask(bank, fresh["key"], "GET", "/api/v1/jobs"))[0] == 200


async def test_key_cannot_exceed_its_spend_cap(bank: ServiceProcess) -> None:
    made = bank.run("keys", "create", "--credit", "1", "--daily-cap", "0.03", "--monthly-cap", "1")
    answers = await asyncio.gather(*(ask(bank, made["key"], "POST", PATH, **SMALL) for _ in range(8)))
    assert sorted(status for status, _ in answers) == [200] * 3 + [402] * 5
    refused = next(body for status, body in answers if status == 402)
    assert refused["error"]["code"] == "key_spend_cap"
    assert refused["error"]["cap_usd"] == 0.03
    other = bank.run("keys", "create", "--account", made["account"])["key"]
    assert (await ask(bank, other, "POST", PATH, **SMALL))[0] == 200


async def test_rotation_revokes_the_old_key_at_once(bank: ServiceProcess) -> None:
    old = bank.run("keys", "create", "--scope", "read", "--name", "ci")
    new = bank.run("keys", "rotate", old["id"])
    assert (new["name"], new["scopes"], new["account"]) == ("ci", ["read"], old["account"])
    assert (await ask(bank, new["key"], "GET", "/api/v1/jobs"))[0] == 200
    assert (await ask(bank, old["key"], "GET", "/api/v1/jobs"))[0] == 401
    again = bank.command("keys", "rotate", old["id"])
    assert (again.returncode, again.stderr.count("\n")) == (1, 1)


def test_lists_keys_without_their_secrets(bank: ServiceProcess) -> None:
    made = bank.run("keys", "create", "--daily-cap", "2.50")
    (row,) = bank.run("keys", "list", "--account", made["id"])
    assert row["key"] == f"{made['key'][:7]}..."
    assert (row["daily_cap"], row["monthly_cap"], row["models"]) == ("2.50", None, None)
    assert made["key"] not in bank.command("keys", "list").stdout


@pytest.mark.parametrize(
    "options",
    [
        ("--plan", "gold"),
        ("--credit", "five"),
        ("--expires", "soon"),
        ("--daily-cap", "-1"),
        ("--model", "dall-e-9"),
        ("--account", "acct_nobody"),
        ("--account", "acct_nobody", "--credit", "1"),
    ],
)
def test_key_creation_errors_are_one_line(bank: ServiceProcess, options: tuple[str, ...]) -> None:
    before = len(bank.run("keys", "list"))
    done = bank.command("keys", "create", *options)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("error:")
    assert len(bank.run("keys", "list")) == before


async def test_operators_create_accounts_and_keys(bank: ServiceProcess) -> None:
    admin = bank.admin_token
    status, account = await ask(
        bank, admin, "POST", "/admin/v1/accounts", name="Ada", plan="starter", credit_usd="2.50"
    )
    assert (status, account["plan"]) == (201, "starter")
    status, made = await ask(
        bank,
        admin,
        "POST",
        "/admin/v1/keys",
        account=account["id"],
        scopes=["generate", "billing"],
        models=["sdxl"],
        expires_at="2100-01-01T00:00:00Z",
        daily_cap_usd=0.5,
    )
    assert (status, made["models"], made["scopes"]) == (201, ["sdxl-1.0"], ["billing", "generate"])
    _, balance = await ask(bank, made["key"], "GET", "/api/v1/billing/balance")
    assert balance["available_usd"] == 4.0  # starter's 1500 credits are $1.50
    assert code(await ask(bank, made["key"], "POST", PATH, **SMALL)) == (403, "model_not_allowed")
    assert (await ask(bank, admin, "PUT", f"/admin/v1/keys/{made['id']}/limits", daily_cap_usd=1))[0] == 200
    assert (await ask(bank, made["key"], "POST", PATH, **SMALL))[0] == 200
    _, rotated = await ask(bank, admin, "POST", f"/admin/v1/keys/{made['id']}/rotate")
    _, listed = await ask(bank, admin, "GET", f"/admin/v1/keys?account={account['id']}")
    assert [key["revoked_at"] is None for key in listed["keys"]] == [False, True]
    await ask(bank, admin, "POST", f"/admin/v1/keys/{rotated['id']}/revoke")
    assert (await ask(bank, rotated["key"], "GET", "/api/v1/billing/balance"))[0] == 401
    changed = await ask(bank, admin, "PUT", f"/admin/v1/accounts/{account['id']}/plan", plan="pro")
    assert changed[1]["plan"] == "pro"
    _, accounts = await ask(bank, admin, "GET", "/admin/v1/accounts")
    assert {"id": account["id"], "plan": "pro"}.items() <= accounts["accounts"][-1].items()


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"plan": "gold"}, "invalid_plan"),
        ({"scopes": ["everything"]}, "invalid_scopes"),
        ({"scopes": []}, "invalid_scopes"),
        ({"expires_at": "2100-01-01T00:00:00"}, "invalid_expires_at"),
        ({"daily_cap_usd": -1}, "invalid_daily_cap_usd"),
        ({"credit_usd": 0}, "invalid_credit_usd"),
        ({"credit_usd": 0.0000001}, "invalid_credit_usd"),
        ({"credit_usd": 1e9}, "invalid_credit_usd"),
        ({"credit_usd": True}, "invalid_credit_usd"),
        ({"models": ["dall-e-9"]}, "model_not_found"),
        ({"account": "acct_nobody", "plan": "pro"}, "invalid_account"),
        ({"colour": "red"}, "invalid_colour"),
    ],
)
async def test_rejects_invalid_key_requests(bank: ServiceProcess, body: dict[str, Any], word: str) -> None:
    before = len(bank.run("keys", "list"))
    assert code(await ask(bank, bank.admin_token, "POST", "/admin/v1/keys", **body)) == (400, word)
    assert len(bank.run("keys", "list")) == before


async def test_admin_api_needs_the_admin_token(bank: ServiceProcess) -> None:
    key = bank.key()
    for method, path in (
        ("GET", "/admin/v1/accounts"),
        ("POST", "/admin/v1/keys"),
        ("GET", "/admin/v1/wallets/x"),
        ("POST", "/admin/v1/wallets/x/credit"),
        ("POST", "/admin/v1/jobs/x/refund"),
        ("GET", "/admin/v1/margins"),
        ("GET", "/admin/v1/audit"),
    ):
        async with bank.client(key) as http:
            headers = {"X-Forwarded-For": f"198.51.100.{len(path)}"}
            async with http.request(method, path, headers=headers) as response:
                assert response.status == 401
