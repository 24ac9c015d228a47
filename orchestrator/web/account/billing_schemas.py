"""Answers about money as models, for documents: what a body has is said here. Amounts are in dollars."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Literal

from pydantic import Field

from orchestrator.store import ApiKeyScope
from orchestrator.web.dialects.openai.schemas import ResponseModel
from pricing.alerts import AlertMetric
from pricing.ledger import EntryKind


class WalletBalance(ResponseModel):
    """What a wallet holds."""

    balance_usd: float = Field(description="What is available and what is held, together.")
    held_usd: float = Field(description="Put aside for unfinished jobs.")
    available_usd: float
    currency: Literal["USD"]


class LedgerEntryResponse(ResponseModel):
    """One movement of money."""

    kind: EntryKind
    amount_usd: float = Field(description="What the wallet can spend grows by this.")
    moved_usd: float
    job_id: str | None
    reference: str | None
    at: datetime


class LedgerPage(ResponseModel):
    """Entries, newest first."""

    entries: list[LedgerEntryResponse]
    next: str | None = Field(description="Pass it as `cursor` for older ones.")


class StatementSummary(ResponseModel):
    """What was there, what moved, what is left."""

    since: datetime
    until: datetime
    opening_usd: float
    closing_usd: float
    charged_usd: float = Field(description="What jobs were charged, less refunds.")
    totals_usd: dict[str, float] = Field(description="Sums by kind of entry.")
    entries: int


class UsageTotal(ResponseModel):
    """Jobs that succeeded."""

    jobs: int
    outputs: int
    cost_usd: float
    gpu_seconds: float


class UsageReportRow(UsageTotal):
    """What jobs of one day, key or model (or of one of each) came to."""

    day: date | None = None
    key_id: str | None = None
    key: str | None = None
    model: str | None = None
    simulated: bool | None = None


class UsageReport(ResponseModel):
    usage: list[UsageReportRow]
    totals: UsageTotal


class BudgetAlert(ResponseModel):
    """An alert and its terms."""

    id: str
    watch: AlertMetric
    threshold_usd: float
    url: str | None
    fired: bool
    created_at: datetime


class BudgetAlertList(ResponseModel):
    alerts: list[BudgetAlert]


class WebhookMessageResponse(ResponseModel):
    """Something that was said, and whether it arrived."""

    id: str
    type: str
    data: dict[str, Any]
    url: str | None
    created_at: datetime
    attempts: int
    delivered_at: datetime | None
    next_attempt_at: datetime | None
    error: str | None


class DeliveryAttemptResponse(ResponseModel):
    """One try to deliver a message."""

    at: datetime
    seconds: float
    status: int | None = Field(description="What the receiver answered; null: nothing came.")
    error: str | None = Field(description="Why it failed; null: the receiver took it.")


class WebhookMessageDetails(WebhookMessageResponse):
    history: list[DeliveryAttemptResponse] = Field(description="Each try to deliver it, oldest first.")


class WebhookMessageList(ResponseModel):
    messages: list[WebhookMessageResponse]


class SigningSecret(ResponseModel):
    """What webhooks are signed with, by the Standard Webhooks specification."""

    secret: str


class PaymentReceipt(ResponseModel):
    received: Literal[True]
    booked: bool


class AccountResponse(ResponseModel):
    id: str
    name: str
    plan: str
    created_at: datetime


class AccountList(ResponseModel):
    accounts: list[AccountResponse]


class ApiKeyResponse(ResponseModel):
    """An API key; `key` is its secret and is there when the key is made."""

    id: str
    key: str | None = None
    prefix: str
    name: str
    account: str
    plan: str
    scopes: list[ApiKeyScope]
    models: list[str] | None
    expires_at: datetime | None
    daily_cap_usd: float | None
    monthly_cap_usd: float | None
    created_at: datetime
    revoked_at: datetime | None


class ApiKeyList(ResponseModel):
    keys: list[ApiKeyResponse]


class AccountWallet(WalletBalance):
    """A wallet as operators see it."""

    account: str
    allowance_usd: float | None = Field(default=None, description="Left of this month's credits.")
    unfinished_jobs: int | None = None


class MarginReportRow(ResponseModel):
    """What work under one heading earned and cost."""

    shards: int
    gpu_seconds: float
    revenue_usd: float
    cost_usd: float
    margin_usd: float
    usd_per_gpu_second: float | None


class MarginReport(ResponseModel):
    margins: list[MarginReportRow]


class JobMargin(ResponseModel):
    """What one job used, earned and cost."""

    job: str
    model: str
    status: str
    account: str
    shards: list[dict[str, Any]]
    revenue_usd: float
    cost_usd: float
    margin_usd: float


class LedgerAudit(ResponseModel):
    """Whether every rule of the books holds from the first entry on."""

    in_order: bool
    violations: list[dict[str, str]]
