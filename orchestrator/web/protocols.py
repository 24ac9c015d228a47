"""What the parts of the HTTP API need from the service, as small protocols.

`GenerationService` implements `JobService` and `ModelOffer`; the store implements the store protocols. Each
part
takes only the protocols that it uses, and `app.build` hands them out.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from orchestrator.billing.price_book import PriceBook
from orchestrator.catalog import Catalog, Model
from orchestrator.execution.results.responses import ResponseTracker
from orchestrator.intake.request_preparer import GenerationRequest, PreparedRequest
from orchestrator.jobs import Job, JobRecord, JobStatus
from orchestrator.store import ApiKey, Page, WebhookMessage
from orchestrator.store.files import FileStore
from orchestrator.store.job_search import JobSearchStore
from orchestrator.store.outbox import OutboxStore
from orchestrator.store.protocol import (
    AccountStore,
    AlertStore,
    ApiKeyStore,
    UsageStore,
    WalletStore,
)
from pricing.tariff import Tariff

#: Returns the current time (UTC).
Clock = Callable[[], datetime]


class ModelOffer(Protocol):
    """The models that are offered now, and their prices."""

    @property
    def catalog(self) -> Catalog: ...

    def catalog_for(self, key: ApiKey) -> Catalog:
        """Return the models that a key's account may call: those that are offered, and its drafts."""
        ...

    @property
    def price_book(self) -> PriceBook: ...

    @property
    def default_tariff(self) -> Tariff: ...

    def get_model(self, job: Job) -> Model:
        """Return the model of an accepted job, even if it is no longer offered. Raises InvalidRequest."""
        ...


class JobReader(Protocol):
    """Reads the jobs of an account."""

    async def get_job(self, account_id: str, job_id: str) -> JobRecord:
        """Return a job of the account. Raises NotFound, Gone."""
        ...

    async def list_jobs(
        self,
        account_id: str,
        *,
        limit: int,
        cursor: str | None,
        status: JobStatus | None,
        model: str | None = None,
    ) -> Page[JobRecord]:
        """Return a page of the account's jobs, newest first."""
        ...

    async def list_video_jobs(
        self, account_id: str, *, limit: int, cursor: str | None, oldest_first: bool
    ) -> Page[JobRecord]:
        """Return a page of the account's video jobs."""
        ...


class JobFinder(Protocol):
    """Looks up jobs of any account."""

    async def find_job(self, job_id: str) -> JobRecord | None:
        """Return a job; None if there is none with this id."""
        ...


class JobWaiter(Protocol):
    """Waits for jobs and cancels them."""

    async def wait_for_job(self, job_id: str) -> JobRecord:
        """Return the job once it is finished. Raises ServiceUnavailable if the service stops before."""
        ...

    async def cancel_job(self, job_id: str) -> JobRecord:
        """Cancel an unfinished job."""
        ...

    async def cancel_shard(self, record: JobRecord, index: int) -> JobRecord:
        """Cancel one shard of an unfinished job; the others go on."""
        ...

    async def abandon_job(self, job_id: str) -> None:
        """Cancel an unfinished job whose caller has gone, also if the store is unavailable now."""
        ...


class JobService(JobReader, JobWaiter, Protocol):
    """Everything that a caller can do with jobs."""

    @property
    def responses(self) -> ResponseTracker:
        """The responses that are being sent."""
        ...

    async def quote(self, key: ApiKey, request: GenerationRequest) -> PreparedRequest:
        """Return the validated request and its price. Raises InvalidRequest, RateLimited."""
        ...

    async def submit(self, key: ApiKey, request: GenerationRequest) -> JobRecord:
        """Create a job.

        Raises InvalidRequest, Forbidden, InsufficientBalance, Conflict, ServiceUnavailable.
        """
        ...

    async def remove_job(self, job_id: str) -> None:
        """Cancel a job, delete its files and hide it from its account."""
        ...

    async def replay_webhook(self, account_id: str, job_id: str) -> WebhookMessage:
        """Send the webhook of a finished job again. Raises NotFound, InvalidRequest."""
        ...

    def record_bytes_sent(self, record: JobRecord, size: int | None = None) -> None:
        """Record that bytes of a job's outputs were sent to the caller; None: all of them."""
        ...


class GenerationApi(JobService, ModelOffer, Protocol):
    """Jobs and models: what the dialects need."""


class BillingStore(WalletStore, UsageStore, Protocol):
    """Wallets, the ledger and usage."""


class AccountAdminStore(AccountStore, ApiKeyStore, WalletStore, Protocol):
    """Accounts, their keys and their wallets."""


class WalletAdminStore(AccountStore, WalletStore, UsageStore, Protocol):
    """Wallets and usage of all accounts."""

    async def find_job(self, job_id: str) -> JobRecord | None: ...

    async def count_unfinished_jobs(self, account_id: str) -> int: ...


class DashboardStore(
    ApiKeyStore, WalletStore, UsageStore, AlertStore, OutboxStore, FileStore, JobSearchStore, Protocol
):
    """Keys, wallets, usage, alerts, webhook messages, and jobs with their files."""
