"""The caller's money: balance, ledger, usage."""

from __future__ import annotations

from aiohttp import web

from orchestrator.service import Service
from orchestrator.store import UsageRow
from orchestrator.web.auth import authenticate
from orchestrator.web.queries import day, limit
from pricing.ledger import Balance, Entry, wallet
from pricing.money import to_usd


class Billing:
    """`/api/v1/billing/...`"""

    def __init__(self, service: Service) -> None:
        self._store = service.store

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/v1/billing/balance", self.balance),
            web.get("/api/v1/billing/ledger", self.ledger),
            web.get("/api/v1/billing/usage", self.usage),
        ]

    async def balance(self, request: web.Request) -> web.Response:
        key = await authenticate(request, self._store)
        return web.json_response(balance_view(await self._store.balance(key.account.id)))

    async def ledger(self, request: web.Request) -> web.Response:
        key = await authenticate(request, self._store)
        page = await self._store.ledger(key.account.id, limit(request), request.query.get("cursor"))
        return web.json_response(
            {"entries": [entry_view(entry) for entry in page.items], "next": page.cursor}
        )

    async def usage(self, request: web.Request) -> web.Response:
        key = await authenticate(request, self._store)
        rows = await self._store.usage(day(request, "since"), day(request, "until"), key.account.id)
        return web.json_response({"usage": [usage_view(row) for row in rows]})


def balance_view(balance: Balance) -> dict[str, object]:
    """Dollars as numbers; `balance` is what is available and what is held together."""
    return {
        "balance_usd": to_usd(balance.available + balance.held),
        "held_usd": to_usd(balance.held),
        "available_usd": to_usd(balance.available),
        "currency": "USD",
    }


def entry_view(entry: Entry) -> dict[str, object]:
    """One movement of money, seen from the wallet: what it can spend grows by `amount_usd`."""
    into = entry.target == wallet(entry.account_id)
    out = entry.source == wallet(entry.account_id)
    return {
        "kind": entry.kind.value,
        "amount_usd": to_usd(entry.micros if into else -entry.micros if out else 0),
        "moved_usd": to_usd(entry.micros),
        "job_id": entry.job_id,
        "reference": entry.reference,
        "at": entry.at.isoformat(),
    }


def usage_view(row: UsageRow) -> dict[str, object]:
    """One day's use of one model by one key."""
    return {
        "day": row.day.isoformat(),
        "key_id": row.key_id,
        "model": row.model,
        "jobs": row.jobs,
        "outputs": row.outputs,
        "cost_usd": to_usd(row.micros),
        "gpu_seconds": round(row.gpu_seconds, 3),
        "simulated": row.simulated,
    }
