"""`/admin/v1/wallets`, refunds, margins and the ledger audit, for operators."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated

from aiohttp import web
from pydantic import Field

from orchestrator.billing.accounts import AccountService
from orchestrator.billing.reports import MarginGroupBy, format_margins_csv, total_margins
from orchestrator.web.account.billing import (
    DATE_RANGE_PARAMS,
    FORMAT_PARAM,
    JSON_OR_CSV,
    build_csv_response,
    build_statement_response,
    group_by_param,
    parse_statement_period,
)
from orchestrator.web.account.billing_schemas import (
    LedgerPage,
    StatementSummary,
    WalletBalance,
    to_ledger_page,
    to_wallet_balance,
)
from orchestrator.web.admin.schemas import (
    AccountWallet,
    AccountWalletDetails,
    JobMargin,
    LedgerAudit,
    MarginReport,
    to_account_wallet,
    to_job_margin,
    to_ledger_audit,
    to_margin_report,
)
from orchestrator.web.auth import require_admin
from orchestrator.web.http.errors import job_not_found
from orchestrator.web.http.queries import parse_date, parse_enum, parse_limit, wants_csv
from orchestrator.web.http.request_model import PositiveUsd, RequestModel, read_request_model, usd_to_micros
from orchestrator.web.http.response_model import json_response
from orchestrator.web.openapi.operation import CURSOR_PARAM, LIMIT_PARAM, openapi_operation
from orchestrator.web.protocols import WalletAdminStore
from pricing.costs import CostRates
from pricing.ledger import Balance
from pricing.money import to_usd

BookingReference = Annotated[str, Field(min_length=1, max_length=200)]
#: Books an amount: account id, micro-dollars, reference, time.
BookMoney = Callable[[str, int, str, datetime], Awaitable[Balance]]


class WalletBookingRequest(RequestModel):
    """An amount to book."""

    usd: PositiveUsd = Field(description="Amount in US dollars.", examples=[25])
    reference: BookingReference | None = Field(
        None,
        description="Unique reference, for example an invoice number. A repetition with the same reference "
        "books nothing.",
        examples=["invoice 17"],
    )


class RefundRequest(RequestModel):
    """A refund. Without `usd`, the whole rest of the charge is refunded."""

    usd: PositiveUsd | None = Field(
        None, description="Amount in US dollars; null: the whole rest of the charge.", examples=[0.003]
    )
    reference: BookingReference = Field(
        "operator", description="Reference of the refund; unique for the job."
    )


class WalletAdminRoutes:
    """Routes of wallets and margins. All need the admin token."""

    def __init__(
        self, store: WalletAdminStore, accounts: AccountService, costs: CostRates, token: str
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._costs = costs
        self._token = token

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/admin/v1/wallets/{id}", self.get_wallet),
            web.get("/admin/v1/wallets/{id}/ledger", self.list_ledger_entries),
            web.get("/admin/v1/wallets/{id}/statement", self.get_statement),
            web.post("/admin/v1/wallets/{id}/credit", self.credit_wallet),
            web.post("/admin/v1/wallets/{id}/grant", self.grant_to_wallet),
            web.post("/admin/v1/wallets/{id}/debit", self.debit_wallet),
            web.post("/admin/v1/jobs/{id}/refund", self.refund_job),
            web.get("/admin/v1/jobs/{id}/margin", self.get_job_margin),
            web.get("/admin/v1/margins", self.list_margins),
            web.get("/admin/v1/audit", self.audit_ledger),
        ]

    @openapi_operation(
        summary="Get an account's wallet",
        description="Returns balance, rest of this month's allowance, and number of unfinished jobs.",
        response=AccountWalletDetails,
    )
    async def get_wallet(self, request: web.Request) -> web.Response:
        """Return the wallet of an account."""
        account_id = await self._require_account_id(request)
        wallet = to_account_wallet(account_id, await self._store.get_balance(account_id))
        body = AccountWalletDetails(
            **dict(wallet),
            allowance_usd=to_usd(await self._store.remaining_allowance(account_id)),
            unfinished_jobs=await self._store.count_unfinished_jobs(account_id),
        )
        return json_response(body)

    @openapi_operation(
        summary="List an account's ledger entries",
        description="Returns every movement of the account's money, newest first, in pages.",
        query={"limit": LIMIT_PARAM, "cursor": CURSOR_PARAM},
        response=LedgerPage,
    )
    async def list_ledger_entries(self, request: web.Request) -> web.Response:
        """Return a page of an account's ledger entries."""
        account_id = await self._require_account_id(request)
        page = await self._store.list_ledger_entries(
            account_id, parse_limit(request), request.query.get("cursor")
        )
        return json_response(to_ledger_page(page))

    @openapi_operation(
        summary="Get an account's statement",
        description="Returns opening balance, movements and closing balance of a period of at most 366 days; "
        "by default the current month. The CSV format lists every entry.",
        query=DATE_RANGE_PARAMS | {"format": FORMAT_PARAM},
        response=StatementSummary,
        content_types=JSON_OR_CSV,
    )
    async def get_statement(self, request: web.Request) -> web.Response:
        """Return the statement of an account as JSON or CSV."""
        account_id = await self._require_account_id(request)
        since, until = parse_statement_period(request, self._accounts.now())
        statement = await self._store.get_statement(account_id, since, until)
        return await build_statement_response(request, statement)

    @openapi_operation(
        summary="Credit a payment to a wallet",
        description="Books a payment of the account.",
        body=WalletBookingRequest,
        response=AccountWallet,
        response_description="The wallet after the booking.",
    )
    async def credit_wallet(self, request: web.Request) -> web.Response:
        """Book a payment."""
        return await self._book(request, self._store.credit)

    @openapi_operation(
        summary="Grant credit to a wallet",
        description="Books credit that the account did not pay for.",
        body=WalletBookingRequest,
        response=AccountWallet,
        response_description="The wallet after the booking.",
    )
    async def grant_to_wallet(self, request: web.Request) -> web.Response:
        """Book a grant."""
        return await self._book(request, self._store.grant)

    @openapi_operation(
        summary="Debit a wallet",
        description="Books a payout, or corrects the balance downwards.",
        body=WalletBookingRequest,
        response=AccountWallet,
        response_description="The wallet after the booking.",
        other_responses={402: "The available balance does not cover the amount."},
    )
    async def debit_wallet(self, request: web.Request) -> web.Response:
        """Book a debit."""
        return await self._book(request, self._store.debit)

    @openapi_operation(
        summary="Refund a job",
        description="Refunds the charge of a job in whole or in part. A repetition with the same reference "
        "refunds nothing.",
        body=RefundRequest,
        response=WalletBalance,
        response_description="The wallet after the refund.",
    )
    async def refund_job(self, request: web.Request) -> web.Response:
        """Refund a job."""
        require_admin(request, self._token)
        body = await read_request_model(request, RefundRequest)
        micros = None if body.usd is None else usd_to_micros(body.usd)
        job_id = request.match_info["id"]
        balance = await self._store.refund(job_id, micros, body.reference, self._accounts.now())
        return json_response(to_wallet_balance(balance))

    @openapi_operation(
        summary="Get a job's margin",
        description="Returns resources, revenue and cost of one job.",
        response=JobMargin,
    )
    async def get_job_margin(self, request: web.Request) -> web.Response:
        """Return resources, revenue and cost of a job."""
        require_admin(request, self._token)
        job_id = request.match_info["id"]
        record = await self._store.find_job(job_id)
        if record is None:
            raise job_not_found(job_id)
        return json_response(to_job_margin(record, self._costs))

    @openapi_operation(
        summary="Get a margin report",
        description="Returns revenue and cost of all jobs by model, day or device.",
        query=DATE_RANGE_PARAMS | {"by": group_by_param(MarginGroupBy), "format": FORMAT_PARAM},
        response=MarginReport,
        content_types=JSON_OR_CSV,
    )
    async def list_margins(self, request: web.Request) -> web.Response:
        """Return revenue and cost as JSON or CSV."""
        require_admin(request, self._token)
        by = parse_enum(request, "by", MarginGroupBy) or MarginGroupBy.MODEL
        since, until = parse_date(request, "since"), parse_date(request, "until")
        margins = total_margins(await self._store.list_metered_usage(since, until), self._costs, by)
        if wants_csv(request):
            return build_csv_response(format_margins_csv(margins, by), f"margins-by-{by}.csv")
        return json_response(to_margin_report(margins, by))

    @openapi_operation(
        summary="Audit the ledger",
        description="Checks every rule of the ledger from its first entry on and returns violations.",
        response=LedgerAudit,
    )
    async def audit_ledger(self, request: web.Request) -> web.Response:
        """Return all violations of the ledger's rules."""
        require_admin(request, self._token)
        return json_response(to_ledger_audit(await self._store.audit_ledger()))

    async def _book(self, request: web.Request, book: BookMoney) -> web.Response:
        """Book the amount of the request and return the wallet."""
        account_id = await self._require_account_id(request)
        body = await read_request_model(request, WalletBookingRequest)
        reference = body.reference or f"operator {uuid.uuid4()}"
        balance = await book(account_id, usd_to_micros(body.usd), reference, self._accounts.now())
        return json_response(to_account_wallet(account_id, balance))

    async def _require_account_id(self, request: web.Request) -> str:
        """Return the id of the account in the path, after this month's allowance was granted.

        Raises NotAuthenticated, NotFound.
        """
        require_admin(request, self._token)
        account = await self._store.resolve_account(request.match_info["id"])
        await self._accounts.renew_allowance(account)
        return account.id
