"""The caller's money: balance, ledger, statement, usage."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum

from aiohttp import web

from orchestrator.billing.reports import By, Total, total_view, totals, totals_csv
from orchestrator.errors import InvalidRequest
from orchestrator.service import Service
from orchestrator.store import UsageRow
from orchestrator.web.account.billing_schemas import LedgerPage, StatementSummary, UsageReport, WalletBalance
from orchestrator.web.auth import Enter
from orchestrator.web.http.queries import choice, day, limit, wants_csv
from orchestrator.web.openapi.operation import CURSOR, LIMIT, Value, describes
from pricing.ledger import Balance, LedgerEntry, wallet_account
from pricing.money import to_usd
from pricing.statement import Statement

#: A statement names every entry: longer times are asked for in parts.
MAX_STATEMENT = timedelta(days=366)
#: Lists that may also be had as a table.
TABLES = ("application/json", "text/csv")
DAYS = {
    "since": Value({"type": "string", "format": "date"}, "The first day (UTC)."),
    "until": Value({"type": "string", "format": "date"}, "The first day that is left out."),
}
FORMAT = Value({"enum": ["json", "csv"], "default": "json"}, "`csv` gives a table.")


def one_of(words: type[StrEnum]) -> Value:
    """A value of the query that is one of some words."""
    return Value({"enum": [word.value for word in words]}, "What to add up by.")


class Billing:
    """`/api/v1/billing/...`"""

    def __init__(self, service: Service, enter: Enter) -> None:
        self._service = service
        self._store = service.store
        self._enter = enter

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/v1/billing/balance", self.balance),
            web.get("/api/v1/billing/ledger", self.ledger),
            web.get("/api/v1/billing/statement", self.statement),
            web.get("/api/v1/billing/usage", self.usage),
        ]

    @describes(answer=WalletBalance)
    async def balance(self, request: web.Request) -> web.Response:
        key = await self._enter(request)
        await self._service.accounts.renew(key.account)
        return web.json_response(balance_view(await self._store.get_balance(key.account.id)))

    @describes(query={"limit": LIMIT, "cursor": CURSOR}, answer=LedgerPage)
    async def ledger(self, request: web.Request) -> web.Response:
        """Entries, newest first, in pages."""
        key = await self._enter(request)
        page = await self._store.list_ledger_entries(
            key.account.id, limit(request), request.query.get("cursor")
        )
        return web.json_response(
            {"entries": [entry_view(entry) for entry in page.items], "next": page.cursor}
        )

    @describes(query=DAYS | {"format": FORMAT}, answer=StatementSummary, media=TABLES)
    async def statement(self, request: web.Request) -> web.Response:
        """What moved between two days (by default in this month); every entry of it as CSV."""
        key = await self._enter(request)
        since, until = statement_time(request, self._service.clock())
        found = await self._store.get_statement(key.account.id, since, until)
        return await statement_response(request, found)

    @describes(query=DAYS | {"by": one_of(By), "format": FORMAT}, answer=UsageReport, media=TABLES)
    async def usage(self, request: web.Request) -> web.Response:
        """By day, key and model, or added up `by` one of them."""
        key = await self._enter(request)
        rows = await self._store.list_usage(day(request, "since"), day(request, "until"), key.account.id)
        by = choice(request, "by", By)
        if wants_csv(request):
            by = by or By.DAY
            return csv_response(totals_csv(totals(rows, by), by), f"usage-by-{by}.csv")
        views = (
            [{by.value: total.heading, **total_view(total)} for total in totals(rows, by)]
            if by
            else [usage_view(row) for row in rows]
        )
        return web.json_response({"usage": views, "totals": total_view(Total.of("all", rows))})


def statement_time(request: web.Request, now: datetime) -> tuple[datetime, datetime]:
    """`since` and `until` of the query: from the first of this month, to the end of today (UTC).

    Raises InvalidRequest.
    """
    since = _midnight(day(request, "since") or now.date().replace(day=1))
    until = _midnight(day(request, "until") or now.date() + timedelta(days=1))
    if not timedelta(0) <= until - since <= MAX_STATEMENT:
        raise InvalidRequest(
            f"A statement is of at most {MAX_STATEMENT.days} days", code="invalid_until", param="until"
        )
    return since, until


async def statement_response(request: web.Request, found: Statement) -> web.Response:
    """CSV with every entry where that is wanted, else what they came to."""
    if wants_csv(request):
        return csv_response(await asyncio.to_thread(found.to_csv), "statement.csv")
    return web.json_response(statement_view(found))


def csv_response(text: str, filename: str) -> web.Response:
    headers = {"Content-Disposition": f'attachment; filename="{filename}"'}
    return web.Response(text=text, content_type="text/csv", charset="utf-8", headers=headers)


def balance_view(balance: Balance) -> dict[str, object]:
    """Dollars as numbers; `balance` is what is available and what is held together."""
    return {
        "balance_usd": to_usd(balance.total),
        "held_usd": to_usd(balance.held),
        "available_usd": to_usd(balance.available),
        "currency": "USD",
    }


def entry_view(entry: LedgerEntry) -> dict[str, object]:
    """One movement of money, seen from the wallet: what it can spend grows by `amount_usd`."""
    into = entry.target == wallet_account(entry.account_id)
    out = entry.source == wallet_account(entry.account_id)
    return {
        "kind": entry.kind.value,
        "amount_usd": to_usd(entry.micros if into else -entry.micros if out else 0),
        "moved_usd": to_usd(entry.micros),
        "job_id": entry.job_id,
        "reference": entry.reference,
        "at": entry.at.isoformat(),
    }


def statement_view(found: Statement) -> dict[str, object]:
    """Opening and closing are what was available and held together."""
    return {
        "since": found.since.isoformat(),
        "until": found.until.isoformat(),
        "opening_usd": to_usd(found.opening),
        "closing_usd": to_usd(found.closing),
        "charged_usd": to_usd(found.net_charges),
        "totals_usd": {kind.value: to_usd(sum_) for kind, sum_ in found.totals.items()},
        "entries": len(found.entries),
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


def _midnight(of: date) -> datetime:
    return datetime.combine(of, time(), UTC)
