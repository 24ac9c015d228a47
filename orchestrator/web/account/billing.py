"""The caller's money: balance, ledger, statement, usage."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum

from aiohttp import web

from orchestrator.billing.reports import (
    UsageGroupBy,
    UsageGroupTotal,
    format_usage_csv,
    to_usage_total_response,
    total_usage,
)
from orchestrator.errors import InvalidRequest
from orchestrator.service import GenerationService
from orchestrator.store import UsageRow
from orchestrator.web.account.billing_schemas import LedgerPage, StatementSummary, UsageReport, WalletBalance
from orchestrator.web.auth import Authenticator
from orchestrator.web.http.queries import parse_date, parse_enum, parse_limit, wants_csv
from orchestrator.web.openapi.operation import CURSOR_PARAM, LIMIT_PARAM, ParameterSpec, openapi_operation
from pricing.ledger import Balance, LedgerEntry, wallet_account
from pricing.money import to_usd
from pricing.statement import Statement

#: A statement names every entry: longer times are asked for in parts.
MAX_STATEMENT_PERIOD = timedelta(days=366)
#: Lists that may also be had as a table.
JSON_OR_CSV = ("application/json", "text/csv")
DATE_RANGE_PARAMS = {
    "since": ParameterSpec({"type": "string", "format": "date"}, "The first day (UTC)."),
    "until": ParameterSpec({"type": "string", "format": "date"}, "The first day that is left out."),
}
FORMAT_PARAM = ParameterSpec({"enum": ["json", "csv"], "default": "json"}, "`csv` gives a table.")


def group_by_param(groupings: type[StrEnum]) -> ParameterSpec:
    """A value of the query that is one of some words."""
    return ParameterSpec({"enum": [word.value for word in groupings]}, "What to add up by.")


class BillingRoutes:
    """`/api/v1/billing/...`"""

    def __init__(self, service: GenerationService, authenticate: Authenticator) -> None:
        self._service = service
        self._store = service.store
        self._authenticate = authenticate

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/v1/billing/balance", self.get_balance),
            web.get("/api/v1/billing/ledger", self.list_ledger_entries),
            web.get("/api/v1/billing/statement", self.get_statement),
            web.get("/api/v1/billing/usage", self.get_usage),
        ]

    @openapi_operation(response=WalletBalance)
    async def get_balance(self, request: web.Request) -> web.Response:
        key = await self._authenticate(request)
        await self._service.accounts.renew_allowance(key.account)
        return web.json_response(to_wallet_balance(await self._store.get_balance(key.account.id)))

    @openapi_operation(query={"limit": LIMIT_PARAM, "cursor": CURSOR_PARAM}, response=LedgerPage)
    async def list_ledger_entries(self, request: web.Request) -> web.Response:
        """Entries, newest first, in pages."""
        key = await self._authenticate(request)
        page = await self._store.list_ledger_entries(
            key.account.id, parse_limit(request), request.query.get("cursor")
        )
        return web.json_response(
            {"entries": [to_ledger_entry_response(entry) for entry in page.items], "next": page.cursor}
        )

    @openapi_operation(
        query=DATE_RANGE_PARAMS | {"format": FORMAT_PARAM},
        response=StatementSummary,
        content_types=JSON_OR_CSV,
    )
    async def get_statement(self, request: web.Request) -> web.Response:
        """What moved between two days (by default in this month); every entry of it as CSV."""
        key = await self._authenticate(request)
        since, until = parse_statement_period(request, self._service.clock())
        found = await self._store.get_statement(key.account.id, since, until)
        return await build_statement_response(request, found)

    @openapi_operation(
        query=DATE_RANGE_PARAMS | {"by": group_by_param(UsageGroupBy), "format": FORMAT_PARAM},
        response=UsageReport,
        content_types=JSON_OR_CSV,
    )
    async def get_usage(self, request: web.Request) -> web.Response:
        """By day, key and model, or added up `by` one of them."""
        key = await self._authenticate(request)
        rows = await self._store.list_usage(
            parse_date(request, "since"), parse_date(request, "until"), key.account.id
        )
        by = parse_enum(request, "by", UsageGroupBy)
        if wants_csv(request):
            by = by or UsageGroupBy.DAY
            return build_csv_response(format_usage_csv(total_usage(rows, by), by), f"usage-by-{by}.csv")
        views = (
            [{by.value: total.group, **to_usage_total_response(total)} for total in total_usage(rows, by)]
            if by
            else [to_usage_report_row(row) for row in rows]
        )
        return web.json_response(
            {"usage": views, "totals": to_usage_total_response(UsageGroupTotal.from_rows("all", rows))}
        )


def parse_statement_period(request: web.Request, now: datetime) -> tuple[datetime, datetime]:
    """`since` and `until` of the query: from the first of this month, to the end of today (UTC).

    Raises InvalidRequest.
    """
    since = _utc_midnight(parse_date(request, "since") or now.date().replace(day=1))
    until = _utc_midnight(parse_date(request, "until") or now.date() + timedelta(days=1))
    if not timedelta(0) <= until - since <= MAX_STATEMENT_PERIOD:
        raise InvalidRequest(
            f"A statement is of at most {MAX_STATEMENT_PERIOD.days} days", code="invalid_until", param="until"
        )
    return since, until


async def build_statement_response(request: web.Request, statement: Statement) -> web.Response:
    """CSV with every entry where that is wanted, else what they came to."""
    if wants_csv(request):
        return build_csv_response(await asyncio.to_thread(statement.to_csv), "statement.csv")
    return web.json_response(to_statement_summary(statement))


def build_csv_response(text: str, filename: str) -> web.Response:
    headers = {"Content-Disposition": f'attachment; filename="{filename}"'}
    return web.Response(text=text, content_type="text/csv", charset="utf-8", headers=headers)


def to_wallet_balance(balance: Balance) -> dict[str, object]:
    """Dollars as numbers; `get_balance` is what is available and what is held together."""
    return {
        "balance_usd": to_usd(balance.total),
        "held_usd": to_usd(balance.held),
        "available_usd": to_usd(balance.available),
        "currency": "USD",
    }


def to_ledger_entry_response(entry: LedgerEntry) -> dict[str, object]:
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


def to_statement_summary(statement: Statement) -> dict[str, object]:
    """Opening and closing are what was available and held together."""
    return {
        "since": statement.since.isoformat(),
        "until": statement.until.isoformat(),
        "opening_usd": to_usd(statement.opening),
        "closing_usd": to_usd(statement.closing),
        "charged_usd": to_usd(statement.net_charges),
        "totals_usd": {kind.value: to_usd(sum_) for kind, sum_ in statement.totals.items()},
        "entries": len(statement.entries),
    }


def to_usage_report_row(row: UsageRow) -> dict[str, object]:
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


def _utc_midnight(day_utc: date) -> datetime:
    return datetime.combine(day_utc, time(), UTC)
