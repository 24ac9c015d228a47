"""Long reports of one account leave readers of the store to the others."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from orchestrator.billing.accounts import AccountService
from orchestrator.fair_slots import TooManyWaiting
from orchestrator.store import ApiKey
from orchestrator.web.account.billing import BillingRoutes
from pricing.plans import Plans
from tests.support.polling import wait_until
from tests.support.store_harness import START, open_world


async def test_reports_of_an_account_wait_for_its_own_only(tmp_path: Path) -> None:
    async with open_world("sqlite", tmp_path) as world:
        other = await world.store.add_account("Bob", "free", START)
        other_key = await world.store.add_key(other.id, "1" * 64, "pk-x", "ci", START)
        accounts = AccountService(world.store, Plans.load(), lambda: world.now)

        async def authenticate(request: web.Request) -> ApiKey:
            return other_key if request.headers["X-Caller"] == "Bob" else world.key

        app = web.Application()
        app.add_routes(BillingRoutes(world.store, accounts, lambda: world.now, authenticate).routes())
        async with TestServer(app) as server, ClientSession() as http:

            async def report(caller: str, path: str) -> Any:
                url = server.make_url(f"/api/v1/billing/{path}")
                async with http.get(url, headers={"X-Caller": caller}) as response:
                    return response.status

            async with accounts.report_slots.slot(world.account.id):
                waiting = asyncio.create_task(report("Ada", "statement"))
                for path in ("statement", "usage", "statement?format=csv"):
                    assert await report("Bob", path) == 200
                assert not waiting.done()
                await wait_until(lambda: bool(accounts.report_slots.waiting(world.account.id)))
            assert await waiting == 200


async def test_a_queue_of_reports_has_an_end(tmp_path: Path) -> None:
    async with open_world("sqlite", tmp_path) as world:
        slots = AccountService(world.store, Plans.load(), lambda: world.now).report_slots
        async with slots.slot("A"):
            queue = [asyncio.create_task(slots.slot("A").__aenter__()) for _ in range(20)]
            await wait_until(lambda: sum(task.done() for task in queue) == 4)
            refused = [task.exception() for task in queue if task.done()]
            assert [type(error) for error in refused] == [TooManyWaiting] * 4
        for task in queue:
            task.cancel()
        await asyncio.gather(*queue, return_exceptions=True)
