"""`/admin/v1/wallets` and what the work earned: operators book payments, corrections and refunds."""

from __future__ import annotations

import uuid
from typing import Annotated

from aiohttp import web
from pydantic import Field

from orchestrator.billing.reports import (
    MarginGroupBy,
    format_margins_csv,
    to_job_margin_response,
    to_margin_response,
    total_margins,
)
from orchestrator.errors import NotFound
from orchestrator.service import GenerationService
from orchestrator.web.account.billing import (
    DATE_RANGE_PARAMS,
    FORMAT_PARAM,
    JSON_OR_CSV,
    build_csv_response,
    build_statement_response,
    group_by_param,
    parse_statement_period,
    to_ledger_entry_response,
    to_wallet_balance,
)
from orchestrator.web.account.billing_schemas import (
    AccountWallet,
    JobMargin,
    LedgerAudit,
    LedgerPage,
    MarginReport,
    StatementSummary,
    WalletBalance,
)
from orchestrator.web.auth import require_admin
from orchestrator.web.http.queries import parse_date, parse_enum, parse_limit, wants_csv
from orchestrator.web.http.request_model import PositiveUsd, RequestModel, read_request_model, usd_to_micros
from orchestrator.web.openapi.operation import CURSOR_PARAM, LIMIT_PARAM, openapi_operation
from pricing.costs import CostRates
from pricing.ledger import Balance
from pricing.money import to_usd

#: Names the booking: the same one again of the same account books nothing.
BookingReference = Annotated[str, Field(min_length=1, max_length=200)]


class WalletBookingRequest(RequestModel):
    usd: PositiveUsd
    reference: BookingReference | None = None


class RefundRequest(RequestModel):
    """Without `usd` all that is left of what the job was charged."""

    usd: PositiveUsd | None = None
    reference: BookingReference = "operator"


class WalletAdminRoutes:
    """Every request carries the admin token."""

    def __init__(self, service: GenerationService, costs: CostRates, token: str) -> None:
        self._service = service
        self._store = service.store
        self._costs = costs
        self._token = token

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/admin/v1/wallets/{id}", self.get_wallet),
            web.get("/admin/v1/wallets/{id}/ledger", self.list_ledger_entries),
            web.get("/admin/v1/wallets/{id}/statement", self.get_statement),
            web.post("/admin/v1/wallets/{id}/{verb:credit|grant|debit}", self.credit_grant_or_debit),
            web.post("/admin/v1/jobs/{id}/refund", self.refund_job),
            web.get("/admin/v1/jobs/{id}/margin", self.get_job_margin),
            web.get("/admin/v1/margins", self.list_margins),
            web.get("/admin/v1/audit", self.audit_ledger),
        ]

    @openapi_operation(response=AccountWallet)
    async def get_wallet(self, request: web.Request) -> web.Response:
        """What a wallet holds, and what of it is this month's allowance."""
        account_id = await self._require_account_id(request)
        balance = await self._store.get_balance(account_id)
        return web.json_response(
            {
                **_to_account_wallet(account_id, balance),
                "allowance_usd": to_usd(await self._store.remaining_allowance(account_id)),
                "unfinished_jobs": await self._store.count_unfinished_jobs(account_id),
            }
        )

    @openapi_operation(query={"limit": LIMIT_PARAM, "cursor": CURSOR_PARAM}, response=LedgerPage)
    async def list_ledger_entries(self, request: web.Request) -> web.Response:
        account_id = await self._require_account_id(request)
        page = await self._store.list_ledger_entries(
            account_id, parse_limit(request), request.query.get("cursor")
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
        account_id = await self._require_account_id(request)
        since, until = parse_statement_period(request, self._service.clock())
        return await build_statement_response(
            request, await self._store.get_statement(account_id, since, until)
        )

    @openapi_operation(body=WalletBookingRequest, response=AccountWallet)
    async def credit_grant_or_debit(self, request: web.Request) -> web.Response:
        """A payment, a gift or a correction downwards."""
        account_id = await self._require_account_id(request)
        form = await read_request_model(request, WalletBookingRequest)
        verbs = {"credit": self._store.credit, "grant": self._store.grant, "debit": self._store.debit}
        reference = form.reference or f"operator {uuid.uuid4()}"
        verb = verbs[request.match_info["verb"]]
        balance = await verb(account_id, usd_to_micros(form.usd), reference, self._service.clock())
        return web.json_response(_to_account_wallet(account_id, balance))

    @openapi_operation(body=RefundRequest, response=WalletBalance)
    async def refund_job(self, request: web.Request) -> web.Response:
        require_admin(request, self._token)
        form = await read_request_model(request, RefundRequest)
        amount = None if form.usd is None else usd_to_micros(form.usd)
        balance = await self._store.refund(
            request.match_info["id"], amount, form.reference, self._service.clock()
        )
        return web.json_response(to_wallet_balance(balance))

    @openapi_operation(response=JobMargin)
    async def get_job_margin(self, request: web.Request) -> web.Response:
        """What one job used, earned and cost us."""
        require_admin(request, self._token)
        record = await self._store.find_job(request.match_info["id"])
        if record is None:
            raise NotFound("There is no such job", code="job_not_found")
        return web.json_response(to_job_margin_response(record, self._costs))

    @openapi_operation(
        query=DATE_RANGE_PARAMS | {"by": group_by_param(MarginGroupBy), "format": FORMAT_PARAM},
        response=MarginReport,
        content_types=JSON_OR_CSV,
    )
    async def list_margins(self, request: web.Request) -> web.Response:
        """What was earned and what it cost us, `by` model, day or device."""
        require_admin(request, self._token)
        by = parse_enum(request, "by", MarginGroupBy) or MarginGroupBy.MODEL
        rows = await self._store.list_metered_usage(
            parse_date(request, "since"), parse_date(request, "until")
        )
        found = total_margins(rows, self._costs, by)
        if wants_csv(request):
            return build_csv_response(format_margins_csv(found, by), f"margins-by-{by}.csv")
        return web.json_response({"margins": [to_margin_response(margin, by) for margin in found]})

    @openapi_operation(response=LedgerAudit)
    async def audit_ledger(self, request: web.Request) -> web.Response:
        """Every rule of the books that does not hold."""
        require_admin(request, self._token)
        found = await self._store.audit_ledger()
        rows = [{"rule": one.rule, "subject": one.subject, "detail": one.detail} for one in found]
        return web.json_response({"in_order": not rows, "violations": rows})

    async def _require_account_id(self, request: web.Request) -> str:
        """The account that the path names by its id or a key's, its billing month begun. Raises NotFound."""
        require_admin(request, self._token)
        account = await self._store.resolve_account(request.match_info["id"])
        await self._service.accounts.renew_allowance(account)
        return account.id


def _to_account_wallet(account_id: str, balance: Balance) -> dict[str, object]:
    return {"account": account_id, **to_wallet_balance(balance)}
