"""Many at once: nobody spends what they do not have, nobody pays twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import aiohttp
import pytest

from tests.support.polling import poll
from tests.support.service import ServiceProcess

PATH = "/api/v1/images/generations"
SMALL = {"model": "flux-1-schnell", "prompt": "a cat", "size": "256x256", "steps": 1}
#: Requests, and how many of them the wallet can pay for.
RUSH, PAID = 1000, 100


@pytest.mark.slow
async def test_a_thousand_requests_on_a_wallet_that_pays_for_a_hundred(bank: ServiceProcess) -> None:
    key = bank.key("1.00")
    connector = aiohttp.TCPConnector(limit=0)
    headers = {"Authorization": f"Bearer {key}", "Prefer": "respond-async"}
    async with aiohttp.ClientSession(bank.url, headers=headers, connector=connector) as http:

        async def ask(number: int) -> int:
            async with http.post(PATH, json=SMALL | {"seed": number}) as response:
                await response.read()
                return response.status

        statuses = Counter(await asyncio.gather(*(ask(number) for number in range(RUSH))))
        assert statuses == {202: PAID, 402: RUSH - PAID}
        await until_settled(http)
        async with http.get("/api/v1/billing/balance") as response:
            wallet = await response.json()
        assert (wallet["balance_usd"], wallet["held_usd"]) == (0.0, 0.0)
        async with http.get("/api/v1/billing/usage?by=model") as response:
            assert (await response.json())["totals"]["jobs"] == PAID


async def until_settled(http: aiohttp.ClientSession) -> None:
    async def held() -> float:
        async with http.get("/api/v1/billing/balance") as response:
            return float((await response.json())["held_usd"])

    await poll(held, lambda usd: usd == 0)


async def test_fifty_times_the_same_request_is_one_job(bank: ServiceProcess) -> None:
    body = SMALL | {"prompt": "the same", "response_format": "b64_json"}
    async with bank.client(bank.key("0.01")) as http:

        async def ask(fields: dict[str, Any]) -> tuple[int, str | None, str]:
            headers = {"Idempotency-Key": "only once"}
            async with http.post(PATH, json=fields, headers=headers) as response:
                return response.status, response.headers.get("X-PixelFactory-Job"), await response.text()

        answers = await asyncio.gather(*(ask(body) for _ in range(50)))
        assert len(set(answers)) == 1
        assert answers[0][0] == 200
        assert (await ask(body | {"steps": 2}))[0] == 409
        async with http.get("/api/v1/billing/ledger") as response:
            kinds = [entry["kind"] for entry in (await response.json())["entries"]]
        assert kinds == ["capture", "hold", "credit"]


async def test_disconnected_callers_leave_no_hold(bank: ServiceProcess) -> None:
    """At every moment of a request, the first milliseconds above all."""
    key = bank.key("1.00")

    async def hang_up(number: int) -> None:
        patience = aiohttp.ClientTimeout(total=0.001 * number)
        async with bank.client(key) as http:
            try:
                async with http.post(PATH, json=SMALL | {"seed": number}, timeout=patience) as response:
                    await response.read()
            except TimeoutError:
                pass

    patient = 100_000
    await asyncio.gather(*(hang_up(number) for number in (*range(1, 60), patient)))
    async with bank.client(key) as http:

        async def books() -> tuple[set[str], dict[str, float], float]:
            """States of the jobs, the wallet, and what the jobs have cost."""
            async with http.get("/api/v1/billing/balance") as response:
                wallet = await response.json()
            async with http.get("/api/v1/jobs", params={"limit": "100"}) as response:
                jobs = (await response.json())["jobs"]
            return {job["status"] for job in jobs}, wallet, sum(job["costUsd"] for job in jobs)

        def settled(state: tuple[set[str], dict[str, float], float]) -> bool:
            # A request that was read just before its caller hung up may make its job later than the others.
            statuses, wallet, charged = state
            return (
                statuses <= {"completed", "cancelled"}
                and wallet["held_usd"] == 0
                and wallet["balance_usd"] == round(1 - charged, 6)
            )

        statuses, _, _ = await poll(books, settled)
    assert "completed" in statuses
