"""What a key does not get to know, and what it can not renew: balances, and its spending."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.integration.test_keys_limits import PATH, SMALL, ask, code
from tests.support.service import ServiceProcess

#: No price is like it, so that it shows wherever it appears: in dollars, cents, credits or micro-dollars.
BALANCE, DIGITS = "0.001237", "1237"
PROMPT = {"prompt": "a cat"}
#: A request for a job in every dialect, by its path.
JOBS: dict[str, dict[str, Any]] = {
    "/api/v1/images/generations": {**SMALL},
    "/api/v1/videos": {"model": "wan2.1-t2v-fast", **PROMPT},
    "/v1/image/generate": {"model": "flux-schnell", **PROMPT},
    "/api/v1/models/flux-1-schnell/run": {**PROMPT},
    "/flux-dev/v1/dev/textToImage": {**PROMPT},
}


async def submit(service: ServiceProcess, key: str, path: str) -> tuple[int, str]:
    """Return the status of a job's submission, and all that the response contains."""
    async with service.client(key) as http, http.post(path, json=JOBS[path]) as response:
        return response.status, f"{response.headers} {await response.text()}"


def poor_keys(bank: ServiceProcess) -> tuple[str, str]:
    """Return two keys of an account that can afford nothing; only the first may read its balance."""
    made = bank.run("keys", "create", "--credit", BALANCE)
    other = bank.run("keys", "create", "--account", made["account"], "--scope", "generate")
    return made["key"], other["key"]


async def test_a_key_without_the_scope_billing_never_sees_the_balance(bank: ServiceProcess) -> None:
    knows, generates = poor_keys(bank)
    for path in JOBS:
        status, text = await submit(bank, generates, path)
        assert status == 402, (path, text)
        assert DIGITS not in text
        assert not {"balance_usd", "held_usd", "available_usd"} & set(text.split('"'))
    status, text = await submit(bank, knows, PATH)
    assert (status, DIGITS in text, "available_usd" in text) == (402, True, True)


async def test_only_a_key_with_the_scope_billing_is_told_the_remaining_credits(bank: ServiceProcess) -> None:
    made = bank.run("keys", "create", "--credit", "1")
    path = "/api/v1/models/flux-1-schnell/run"
    for scope, visible in (("generate", False), ("billing", True)):
        scopes = ("--scope", "generate", "--scope", scope)
        key = bank.run("keys", "create", "--account", made["account"], *scopes)["key"]
        status, text = await submit(bank, key, path)
        assert (status, "creditsRemaining" in text, "creditCost" in text) == (200, visible, True)


async def test_rotation_keeps_what_a_key_has_spent_of_its_cap(bank: ServiceProcess) -> None:
    made = bank.run("keys", "create", "--credit", "1", "--daily-cap", "0.03")
    assert (await ask(bank, made["key"], "POST", PATH, **SMALL))[0] == 200
    by_command = bank.run("keys", "rotate", made["id"])
    assert (await ask(bank, by_command["key"], "POST", PATH, **SMALL))[0] == 200
    status, by_admin = await ask(bank, bank.admin_token, "POST", f"/admin/v1/keys/{by_command['id']}/rotate")
    assert (status, by_admin["daily_cap_usd"]) == (201, 0.03)
    answers = await asyncio.gather(*(ask(bank, by_admin["key"], "POST", PATH, **SMALL) for _ in range(4)))
    assert sorted(status for status, _ in answers) == [200, 402, 402, 402]
    refused = next(body for status, body in answers if status == 402)
    assert (refused["error"]["code"], refused["error"]["spent_usd"]) == ("key_spend_cap", 0.03)


async def test_rejects_odd_amounts_everywhere(bank: ServiceProcess) -> None:
    made = bank.run("keys", "create", "--credit", "1")
    id = made["account"]
    for usd in ("1_000", "1e3", " 5", "5 ", "+5", "\u0665", "\uff15", "5.", ".5", "inf", "-5"):
        await reject_amount(bank, id, usd)
    assert (await ask(bank, made["key"], "GET", "/api/v1/billing/balance"))[1]["balance_usd"] == 1
    for command in (("wallet", "credit", id, "1_000"), ("keys", "create", "--credit", " 5")):
        done = bank.command(*command)
        assert (done.returncode, "is not an amount" in done.stderr) == (1, True)


async def reject_amount(bank: ServiceProcess, id: str, usd: str) -> None:
    """Send an amount in every field for money of the operators' API."""
    requests = [
        ("POST", f"/admin/v1/wallets/{id}/credit", {"usd": usd}),
        ("POST", f"/admin/v1/wallets/{id}/grant", {"usd": usd}),
        ("POST", f"/admin/v1/wallets/{id}/debit", {"usd": usd}),
        ("POST", "/admin/v1/jobs/job_none/refund", {"usd": usd}),
        ("POST", "/admin/v1/accounts", {"credit_usd": usd}),
        ("POST", "/admin/v1/keys", {"credit_usd": usd}),
        ("POST", "/admin/v1/keys", {"daily_cap_usd": usd}),
        ("POST", "/admin/v1/keys", {"monthly_cap_usd": usd}),
    ]
    for method, path, body in requests:
        field = next(iter(body))
        assert code(await ask(bank, bank.admin_token, method, path, **body)) == (400, f"invalid_{field}")
