"""`/api/v1/billing`: balance, ledger, statement and usage of the caller's account."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum

from aiohttp import web

from orchestrator.billing.accounts import AccountService
from orchestrator.billing.reports import UsageGroupBy, format_usage_csv, total_usage
from orchestrator.errors import invalid_field
from orchestrator.web.account.billing_schemas import (
    LedgerPage,
    StatementSummary,
    UsageReport,
    WalletBalance,
    to_ledger_page,
    to_statement_summary,
    to_usage_report,
    to_wallet_balance,
)
from orchestrator.web.auth import Authenticator
from orchestrator.web.http.queries import parse_date, parse_enum, parse_limit, wants_csv
from orchestrator.web.http.response_model import json_response
from orchestrator.web.openapi.operation import CURSOR_PARAM, LIMIT_PARAM, ParameterSpec, openapi_operation
from orchestrator.web.protocols import BillingStore, Clock
from pricing.statement import Statement

#: Longest period of a statement, since the CSV format lists every entry.
MAX_STATEMENT_PERIOD = timedelta(days=366)
#: Content types of reports.
JSON_OR_CSV = ("application/json", "text/csv")
DATE_RANGE_PARAMS = {
    "since": ParameterSpec({"type": "string", "format": "date"}, "First day of the period (UTC)."),
    "until": ParameterSpec(
        {"type": "string", "format": "date"}, "Day after the last day of the period (UTC)."
    ),
}
FORMAT_PARAM = ParameterSpec(
    {"enum": ["json", "csv"], "default": "json"}, "Format of the response; `Accept: text/csv` also gives CSV."
)


class OnlyChanges(StrEnum):
    """Whether a list of entries leaves out holds and releases."""

    TRUE = "true"


CHANGES_ONLY_PARAM = ParameterSpec(
    {"enum": [*OnlyChanges]}, "`true` leaves out holds and releases, which do not change the balance."
)


def group_by_param(groupings: type[StrEnum]) -> ParameterSpec:
    """Return the query parameter `by` with these values."""
    return ParameterSpec({"enum": [value.value for value in groupings]}, "Add up the rows by this column.")


class BillingRoutes:
    """Routes of the caller's wallet and usage."""

    def __init__(
        self, store: BillingStore, accounts: AccountService, clock: Clock, authenticate: Authenticator
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._clock = clock
        self._authenticate = authenticate

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/v1/billing/balance", self.get_balance),
            web.get("/api/v1/billing/ledger", self.list_ledger_entries),
            web.get("/api/v1/billing/statement", self.get_statement),
            web.get("/api/v1/billing/usage", self.get_usage),
        ]

    @openapi_operation(
        summary="Get the balance",
        description="Returns the account's balance: what is available for new jobs, and what is held for "
        "unfinished ones.",
        response=WalletBalance,
    )
    async def get_balance(self, request: web.Request) -> web.Response:
        """Return the caller's balance, after this month's allowance was granted."""
        key = await self._authenticate(request)
        await self._accounts.renew_allowance(key.account)
        return json_response(to_wallet_balance(await self._store.get_balance(key.account.id)))

    @openapi_operation(
        summary="List ledger entries",
        description="Returns every movement of the account's money, newest first, in pages, each with the"
        " balance after it.",
        query={"limit": LIMIT_PARAM, "cursor": CURSOR_PARAM, "changes_only": CHANGES_ONLY_PARAM},
        response=LedgerPage,
    )
    async def list_ledger_entries(self, request: web.Request) -> web.Response:
        """Return a page of the caller's ledger entries."""
        key = await self._authenticate(request)
        page = await self._store.list_ledger_entries(
            key.account.id,
            parse_limit(request),
            request.query.get("cursor"),
            changes_only=bool(parse_enum(request, "changes_only", OnlyChanges)),
        )
        return json_response(to_ledger_page(page))

    @openapi_operation(
        summary="Get an account statement",
        description="Returns opening balance, movements and closing balance of a period of at most 366 days; "
        "by default the current month. The CSV format lists every entry.",
        query=DATE_RANGE_PARAMS | {"format": FORMAT_PARAM},
        response=StatementSummary,
        content_types=JSON_OR_CSV,
    )
    async def get_statement(self, request: web.Request) -> web.Response:
        """Return the caller's statement as JSON or CSV."""
        key = await self._authenticate(request)
        since, until = parse_statement_period(request, self._clock())
        async with self._accounts.report_slots.slot(key.account.id):
            statement = await self._store.get_statement(key.account.id, since, until)
            return await build_statement_response(request, statement)

    @openapi_operation(
        summary="Get a usage report",
        description="Returns jobs, outputs, cost and GPU time by day, API key and model, or added up `by` "
        "one "
        "of them.",
        query=DATE_RANGE_PARAMS | {"by": group_by_param(UsageGroupBy), "format": FORMAT_PARAM},
        response=UsageReport,
        content_types=JSON_OR_CSV,
    )
    async def get_usage(self, request: web.Request) -> web.Response:
        """Return the caller's usage as JSON or CSV."""
        key = await self._authenticate(request)
        since, until = parse_date(request, "since"), parse_date(request, "until")
        async with self._accounts.report_slots.slot(key.account.id):
            rows = await self._store.list_usage(since, until, key.account.id)
        by = parse_enum(request, "by", UsageGroupBy)
        if wants_csv(request):
            by = by or UsageGroupBy.DAY
            return build_csv_response(format_usage_csv(total_usage(rows, by), by), f"usage-by-{by}.csv")
        return json_response(to_usage_report(rows, by))


def parse_statement_period(request: web.Request, now: datetime) -> tuple[datetime, datetime]:
    """Return `since` and `until` of the query; by default from the first of this month to the end of today.

    Raises InvalidRequest.
    """
    since = _utc_midnight(parse_date(request, "since") or now.date().replace(day=1))
    until = _utc_midnight(parse_date(request, "until") or now.date() + timedelta(days=1))
    if not timedelta(0) <= until - since <= MAX_STATEMENT_PERIOD:
        raise invalid_field(
            "until", f"must be at most {MAX_STATEMENT_PERIOD.days} days after `since`, and not before it"
        )
    return since, until


async def build_statement_response(request: web.Request, statement: Statement) -> web.Response:
    """Return the statement as CSV if the request asks for it, else its summary as JSON."""
    if wants_csv(request):
        return build_csv_response(await asyncio.to_thread(statement.to_csv), "statement.csv")
    return json_response(to_statement_summary(statement))


def build_csv_response(text: str, filename: str) -> web.Response:
    """Return a CSV file as a download."""
    headers = {"Content-Disposition": f'attachment; filename="{filename}"'}
    return web.Response(text=text, content_type="text/csv", charset="utf-8", headers=headers)


def _utc_midnight(day_utc: date) -> datetime:
    return datetime.combine(day_utc, time(), UTC)
