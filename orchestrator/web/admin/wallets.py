"""`/admin/v1/wallets` and what the work earned: operators book payments, corrections and refunds."""

from __future__ import annotations

import uuid
from typing import Annotated

from aiohttp import web
from pydantic import Field

from orchestrator.billing.reports import MarginBy, job_margin, margin_view, margins, margins_csv
from orchestrator.errors import NotFound
from orchestrator.service import Service
from orchestrator.web.account.billing import (
    DAYS,
    FORMAT,
    TABLES,
    balance_view,
    csv_response,
    entry_view,
    one_of,
    statement_response,
    statement_time,
)
from orchestrator.web.account.billing_schemas import (
    AccountWallet,
    BooksAudit,
    JobMargin,
    LedgerPage,
    MarginReport,
    StatementSummary,
    WalletBalance,
)
from orchestrator.web.auth import require_admin
from orchestrator.web.http.queries import choice, day, limit, wants_csv
from orchestrator.web.http.request_model import Form, PositiveUsd, micros, read_form
from orchestrator.web.openapi.operation import CURSOR, LIMIT, describes
from pricing.costs import CostRates
from pricing.ledger import Balance
from pricing.money import to_usd

#: Names the booking: the same one again of the same account books nothing.
Reference = Annotated[str, Field(min_length=1, max_length=200)]


class Amount(Form):
    usd: PositiveUsd
    reference: Reference | None = None


class Refund(Form):
    """Without `usd` all that is left of what the job was charged."""

    usd: PositiveUsd | None = None
    reference: Reference = "operator"


class AdminMoney:
    """Every request carries the admin token."""

    def __init__(self, service: Service, costs: CostRates, token: str) -> None:
        self._service = service
        self._store = service.store
        self._costs = costs
        self._token = token

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/admin/v1/wallets/{id}", self.wallet),
            web.get("/admin/v1/wallets/{id}/ledger", self.ledger),
            web.get("/admin/v1/wallets/{id}/statement", self.statement),
            web.post("/admin/v1/wallets/{id}/{verb:credit|grant|debit}", self.book),
            web.post("/admin/v1/jobs/{id}/refund", self.refund),
            web.get("/admin/v1/jobs/{id}/margin", self.job),
            web.get("/admin/v1/margins", self.margins),
            web.get("/admin/v1/audit", self.audit),
        ]

    @describes(answer=AccountWallet)
    async def wallet(self, request: web.Request) -> web.Response:
        """What a wallet holds, and what of it is this month's allowance."""
        account_id = await self._account(request)
        balance = await self._store.get_balance(account_id)
        return web.json_response(
            {
                **_wallet_view(account_id, balance),
                "allowance_usd": to_usd(await self._store.remaining_allowance(account_id)),
                "unfinished_jobs": await self._store.count_unfinished_jobs(account_id),
            }
        )

    @describes(query={"limit": LIMIT, "cursor": CURSOR}, answer=LedgerPage)
    async def ledger(self, request: web.Request) -> web.Response:
        account_id = await self._account(request)
        page = await self._store.list_ledger_entries(account_id, limit(request), request.query.get("cursor"))
        return web.json_response(
            {"entries": [entry_view(entry) for entry in page.items], "next": page.cursor}
        )

    @describes(query=DAYS | {"format": FORMAT}, answer=StatementSummary, media=TABLES)
    async def statement(self, request: web.Request) -> web.Response:
        account_id = await self._account(request)
        since, until = statement_time(request, self._service.clock())
        return await statement_response(request, await self._store.get_statement(account_id, since, until))

    @describes(body=Amount, answer=AccountWallet)
    async def book(self, request: web.Request) -> web.Response:
        """A payment, a gift or a correction downwards."""
        account_id = await self._account(request)
        form = await read_form(request, Amount)
        verbs = {"credit": self._store.credit, "grant": self._store.grant, "debit": self._store.debit}
        reference = form.reference or f"operator {uuid.uuid4()}"
        verb = verbs[request.match_info["verb"]]
        balance = await verb(account_id, micros(form.usd), reference, self._service.clock())
        return web.json_response(_wallet_view(account_id, balance))

    @describes(body=Refund, answer=WalletBalance)
    async def refund(self, request: web.Request) -> web.Response:
        require_admin(request, self._token)
        form = await read_form(request, Refund)
        amount = None if form.usd is None else micros(form.usd)
        balance = await self._store.refund(
            request.match_info["id"], amount, form.reference, self._service.clock()
        )
        return web.json_response(balance_view(balance))

    @describes(answer=JobMargin)
    async def job(self, request: web.Request) -> web.Response:
        """What one job used, earned and cost us."""
        require_admin(request, self._token)
        record = await self._store.find_job(request.match_info["id"])
        if record is None:
            raise NotFound("There is no such job", code="job_not_found")
        return web.json_response(job_margin(record, self._costs))

    @describes(query=DAYS | {"by": one_of(MarginBy), "format": FORMAT}, answer=MarginReport, media=TABLES)
    async def margins(self, request: web.Request) -> web.Response:
        """What was earned and what it cost us, `by` model, day or device."""
        require_admin(request, self._token)
        by = choice(request, "by", MarginBy) or MarginBy.MODEL
        rows = await self._store.list_metered_usage(day(request, "since"), day(request, "until"))
        found = margins(rows, self._costs, by)
        if wants_csv(request):
            return csv_response(margins_csv(found, by), f"margins-by-{by}.csv")
        return web.json_response({"margins": [margin_view(margin, by) for margin in found]})

    @describes(answer=BooksAudit)
    async def audit(self, request: web.Request) -> web.Response:
        """Every rule of the books that does not hold."""
        require_admin(request, self._token)
        found = await self._store.audit_ledger()
        rows = [{"rule": one.rule, "subject": one.subject, "detail": one.detail} for one in found]
        return web.json_response({"in_order": not rows, "violations": rows})

    async def _account(self, request: web.Request) -> str:
        """The account that the path names by its id or a key's, its billing month begun. Raises NotFound."""
        require_admin(request, self._token)
        account = await self._store.resolve_account(request.match_info["id"])
        await self._service.accounts.renew(account)
        return account.id


def _wallet_view(account_id: str, balance: Balance) -> dict[str, object]:
    return {"account": account_id, **balance_view(balance)}
