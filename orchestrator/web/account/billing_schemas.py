"""Bodies of the billing API, and the functions that build them. Amounts are in US dollars."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Literal

from pydantic import Field

from orchestrator.billing.reports import UsageGroupBy, UsageGroupTotal, to_usage_total_response, total_usage
from orchestrator.store import UsageRow
from orchestrator.store.values import EntryPage
from orchestrator.web.http.response_model import IsoDatetime, ResponseModel
from pricing.alerts import Alert, AlertMetric
from pricing.ledger import Balance, EntryKind, LedgerEntry, balance_change, wallet_account
from pricing.money import to_usd
from pricing.statement import Statement

EXAMPLE_JOB_ID = "job_3f2a9c0d5b7e4f1a8c6d2e9b0a4f7c31"


class WalletBalance(ResponseModel):
    """Balance of a wallet."""

    balance_usd: float = Field(description="Available and held amounts together.", examples=[25.0])
    held_usd: float = Field(description="Held for unfinished jobs.", examples=[0.12])
    available_usd: float = Field(description="Available for new jobs.", examples=[24.88])
    currency: Literal["USD"] = Field(description="Currency of all amounts.")


class LedgerEntryResponse(ResponseModel):
    """One movement of money."""

    kind: EntryKind = Field(description="Reason of the movement.", examples=["capture"])
    amount_usd: float = Field(
        description="Change of the available amount; 0 for the capture of a held amount.", examples=[-0.003]
    )
    change_usd: float = Field(
        description="Change of the balance, held amounts included: 0 for holds and releases.",
        examples=[-0.003],
    )
    balance_after_usd: float = Field(
        description="Balance after the entry, held amounts included.", examples=[4.997]
    )
    moved_usd: float = Field(description="Amount that was moved, without sign.", examples=[0.003])
    job_id: str | None = Field(description="Job that caused it.", examples=[EXAMPLE_JOB_ID])
    model: str | None = Field(
        description="Model of that job, by the name that its request used.", examples=["flux-1-schnell"]
    )
    reference: str | None = Field(description="Reference of a payment or booking.", examples=["invoice 17"])
    at: IsoDatetime = Field(description="Time of the booking.")


class LedgerPage(ResponseModel):
    """A page of ledger entries, newest first."""

    entries: list[LedgerEntryResponse] = Field(description="The entries.")
    next: str | None = Field(
        description="Pass it as `cursor` to get the next page; null on the last page.", examples=["1041"]
    )


class StatementSummary(ResponseModel):
    """Summary of an account statement. The CSV format lists every entry."""

    since: IsoDatetime = Field(description="Begin of the period (inclusive).")
    until: IsoDatetime = Field(description="End of the period (exclusive).")
    opening_usd: float = Field(description="Balance at the begin, held amounts included.", examples=[30.0])
    closing_usd: float = Field(description="Balance at the end, held amounts included.", examples=[25.0])
    charged_usd: float = Field(description="Charges for jobs, less refunds.", examples=[5.0])
    totals_usd: dict[str, float] = Field(
        description="Sum of the moved amounts by kind of entry.", examples=[{"hold": 5.0, "capture": 5.0}]
    )
    entries: int = Field(description="Number of ledger entries in the period.", examples=[412])


class UsageTotal(ResponseModel):
    """Usage of jobs that succeeded."""

    jobs: int = Field(description="Number of jobs.", examples=[206])
    outputs: int = Field(description="Number of outputs.", examples=[310])
    cost_usd: float = Field(description="Amount charged.", examples=[0.93])
    gpu_seconds: float = Field(description="Time that prompts ran on an instance.", examples=[518.204])


class UsageReportRow(UsageTotal):
    """Usage by day, key and model; or by one of them if `by` is given."""

    day: date | None = Field(None, description="Day (UTC).")
    key_id: str | None = Field(None, description="Id of the API key.", examples=["key_5d1f0c8b"])
    key: str | None = Field(
        None, description="Id of the API key, in a report by key.", examples=["key_5d1f0c8b"]
    )
    model: str | None = Field(None, description="Id of the model.", examples=["flux-1-schnell"])
    simulated: bool | None = Field(None, description="Whether simulators made the outputs.", examples=[False])


class UsageReport(ResponseModel):
    """Usage of the account."""

    usage: list[UsageReportRow] = Field(description="The rows of the report.")
    totals: UsageTotal = Field(description="Sum of all rows.")


class BudgetAlert(ResponseModel):
    """A budget alert."""

    id: str = Field(description="Id of the alert.", examples=["alert_5d1f0c8b"])
    watch: AlertMetric = Field(
        description="What it watches: the `balance` (fires below the threshold), or the spending of the "
        "`day` "
        "or `month` in UTC (fires from the threshold on)."
    )
    threshold_usd: float = Field(description="Threshold.", examples=[20.0])
    url: str | None = Field(
        description="URL that receives a `budget.alert` webhook; null: the alert is only listed.",
        examples=["https://example.com/webhook"],
    )
    fired: bool = Field(description="Whether it has fired in the current period.", examples=[False])
    created_at: IsoDatetime = Field(description="When it was created.")


class BudgetAlertList(ResponseModel):
    """All budget alerts of the account."""

    alerts: list[BudgetAlert] = Field(description="The alerts.")


def to_wallet_balance(balance: Balance) -> WalletBalance:
    """Return a balance in dollars."""
    return WalletBalance(
        balance_usd=to_usd(balance.total),
        held_usd=to_usd(balance.held),
        available_usd=to_usd(balance.available),
        currency="USD",
    )


def to_ledger_page(page: EntryPage) -> LedgerPage:
    """Return a page of ledger entries."""
    entries, balance = [], page.balance
    for entry in page.items:
        entries.append(_to_ledger_entry(entry, balance, page.models.get(entry.job_id or "")))
        balance -= balance_change(entry)
    return LedgerPage(entries=entries, next=page.cursor)


def _to_ledger_entry(entry: LedgerEntry, balance: int, model: str | None) -> LedgerEntryResponse:
    wallet = wallet_account(entry.account_id)
    available_change = (entry.target == wallet) - (entry.source == wallet)
    return LedgerEntryResponse(
        kind=entry.kind,
        amount_usd=to_usd(available_change * entry.micros),
        change_usd=to_usd(balance_change(entry)),
        balance_after_usd=to_usd(balance),
        moved_usd=to_usd(entry.micros),
        job_id=entry.job_id,
        model=model,
        reference=entry.reference,
        at=entry.at,
    )


def to_statement_summary(statement: Statement) -> StatementSummary:
    """Return the summary of a statement."""
    return StatementSummary(
        since=statement.since,
        until=statement.until,
        opening_usd=to_usd(statement.opening),
        closing_usd=to_usd(statement.closing),
        charged_usd=to_usd(statement.net_charges),
        totals_usd={kind.value: to_usd(micros) for kind, micros in statement.totals.items()},
        entries=len(statement.entries),
    )


def to_usage_report(rows: Sequence[UsageRow], by: UsageGroupBy | None) -> UsageReport:
    """Return a usage report by day, key and model, or added up `by` one of them."""
    if by is None:
        report_rows = [_to_report_row(row) for row in rows]
    else:
        report_rows = [
            UsageReportRow.model_validate({by.value: total.group, **to_usage_total_response(total)})
            for total in total_usage(rows, by)
        ]
    total = to_usage_total_response(UsageGroupTotal.from_rows("all", rows))
    return UsageReport(usage=report_rows, totals=UsageTotal.model_validate(total))


def _to_report_row(row: UsageRow) -> UsageReportRow:
    return UsageReportRow(
        day=row.day,
        key_id=row.key_id,
        model=row.model,
        jobs=row.jobs,
        outputs=row.outputs,
        cost_usd=to_usd(row.micros),
        gpu_seconds=round(row.gpu_seconds, 3),
        simulated=row.simulated,
    )


def to_budget_alert(alert: Alert, now: datetime) -> BudgetAlert:
    """Return an alert as its account sees it."""
    return BudgetAlert(
        id=alert.id,
        watch=alert.watched,
        threshold_usd=to_usd(alert.threshold),
        url=alert.url,
        fired=alert.has_fired(now),
        created_at=alert.created_at,
    )
