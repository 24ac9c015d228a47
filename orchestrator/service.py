"""What a caller may ask: a price, a generation, what became of it, and to give it up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from orchestrator.billing.accounts import AccountService
from orchestrator.billing.price_book import PriceBook
from orchestrator.catalog import Catalog, Model
from orchestrator.catalog.live_catalog import LiveCatalog
from orchestrator.errors import (
    ContentBlocked,
    Forbidden,
    InvalidRequest,
    NotFound,
    ServiceError,
    ServiceUnavailable,
)
from orchestrator.execution.dispatcher import Dispatcher
from orchestrator.execution.expiry import ExpiryPolicy
from orchestrator.execution.job_lifecycle import Clock, JobLifecycle
from orchestrator.intake.admission import check_capacity
from orchestrator.intake.request_preparer import GenerationRequest, PreparedRequest, RequestPreparer
from orchestrator.jobs import Job, JobError, JobRecord, JobStatus, create_shards
from orchestrator.jobs.events import EventHub, JobChanged
from orchestrator.moderation import Moderation
from orchestrator.storage.object_store import ObjectStore
from orchestrator.store import Account, ApiKey, Page, Store, WebhookMessage
from pricing.tariff import Tariff

#: Drawn seeds stay below 2^53, so that every JSON reader gives them back exactly.
RANDOM_SEED_BITS = 53


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationService:
    """The walk of a request up to its promise; the dispatcher keeps it."""

    live_catalog: LiveCatalog
    request_preparer: RequestPreparer
    accounts: AccountService
    store: Store
    object_store: ObjectStore
    dispatcher: Dispatcher
    lifecycle: JobLifecycle
    events: EventHub
    moderation: Moderation
    expiry: ExpiryPolicy
    clock: Clock
    #: Gives that many random bits, as `random.getrandbits` does.
    random_bits: Callable[[int], int]
    #: Expected seconds of waiting beyond which requests are refused.
    max_wait_seconds: float

    @property
    def catalog(self) -> Catalog:
        """The models of this moment."""
        return self.live_catalog.catalog

    @property
    def price_book(self) -> PriceBook:
        """The price lists as they are today; a job keeps the price of the day it came in."""
        return self.request_preparer.get_price_book()

    def get_model(self, job: Job) -> Model:
        """The model of an accepted job, which may not be offered any more. Raises InvalidRequest."""
        return self.live_catalog.get_known_model(job.model)

    @property
    def default_tariff(self) -> Tariff:
        """Our own price list of today."""
        return self.price_book.default_tariff

    async def quote(self, request: GenerationRequest) -> PreparedRequest:
        """The request as it would run, and what it would cost. Raises InvalidRequest."""
        return await self.request_preparer.prepare(request)

    async def submit(self, key: ApiKey, request: GenerationRequest) -> JobRecord:
        """Accepts a job: when this returns it is on disk and its price is held.

        The same idempotency key and request give the job of the first time. Raises InvalidRequest,
        ContentBlocked, Forbidden, InsufficientBalance, Conflict, ServiceUnavailable; then nothing is held.
        """
        order = await self.quote(request)
        if not key.can_use_model(order.model.id):
            raise Forbidden(
                f"This API key may not use {order.model.id}", code="model_not_allowed", param="model"
            )
        job = self._create_job(key, order)
        known = await self.store.find_job_by_idempotency_key(job) if job.idempotency_key else None
        if known:
            return self.expiry.require_unexpired(known)
        try:
            await self.moderation.check(key.account.id, order.user_texts)
        except ContentBlocked as error:
            if request.store_blocked_job:
                return await self._store_blocked_job(job, order.params["n"], error)
            raise
        check_capacity(self.dispatcher, key.account.id, order.model.id, self.max_wait_seconds)
        await self._store_input_files(order)
        await self.accounts.renew_allowance(key.account)
        accepting = asyncio.ensure_future(self._store_and_schedule(job, order.params["n"], key.account))
        try:
            return await asyncio.shield(accepting)
        except asyncio.CancelledError:
            # Nobody will hear of this job, so nobody shall pay for it, unless a key says that they ask again.
            with suppress(ServiceError):
                await accepting
                if job.idempotency_key is None:
                    await self.cancel_job(job.id)
            raise

    async def get_job(self, account_id: str, job_id: str) -> JobRecord:
        """One of the account's jobs. Raises Gone where it has expired, NotFound for others' jobs too."""
        record = await self.store.find_job(job_id)
        if record is None or record.job.account_id != account_id or record.job.removed_at is not None:
            raise NotFound("There is no such job", code="job_not_found")
        return self.expiry.require_unexpired(record)

    async def list_jobs(
        self,
        account_id: str,
        *,
        limit: int,
        cursor: str | None,
        status: JobStatus | None,
        model: str | None = None,
    ) -> Page[JobRecord]:
        """The account's jobs, newest first."""
        models = None if model is None else [model]
        return await self.store.list_jobs(account_id, limit, cursor, status, models=models)

    async def list_video_jobs(
        self, account_id: str, *, limit: int, cursor: str | None, oldest_first: bool
    ) -> Page[JobRecord]:
        """The account's jobs that make films."""
        models = [model.id for model in self.catalog if model.makes_video]
        return await self.store.list_jobs(account_id, limit, cursor, models=models, oldest_first=oldest_first)

    async def wait_for_job(self, job_id: str) -> JobRecord:
        """The finished job. Raises ServiceUnavailable when the service stops before that."""
        with self.events.subscribe(job_id) as subscription:
            record = await self.store.find_job(job_id)
            if record and record.job.is_finished:
                return record
            async for event in subscription:
                if isinstance(event, JobChanged) and event.record.job.is_finished:
                    return event.record
        raise ServiceUnavailable("The service is shutting down", code="shutting_down", retry_after=5)

    async def replay_webhook(self, account_id: str, job_id: str) -> WebhookMessage:
        """Tells whom a finished job of the account names once more. Raises NotFound, InvalidRequest."""
        job = (await self.get_job(account_id, job_id)).job
        message = await self.store.find_job_message(job.id)
        if message is None:
            reason = "was given no webhook_url" if job.is_finished else "is not finished"
            raise InvalidRequest(f"The job {reason}", code="no_webhook")
        return await self.store.replay_message(message.id, self.clock())

    async def record_bytes_sent(self, record: JobRecord, size: int | None = None) -> None:
        """Notes that a caller was sent so many bytes of a job's outputs, or all, through us: it shows in what
        the job cost."""
        if size is None:
            size = sum(output.size for output in record.outputs)
        await self.store.record_bytes_sent(record.job.id, size, self.clock())

    async def cancel_job(self, job_id: str) -> JobRecord:
        """Gives a job up: waiting shards go at once, running ones at their instance's next step, and
        nothing is charged. A finished job stays as it is."""
        record = await self.lifecycle.cancel_job(job_id)
        self.dispatcher.cancel_job(job_id)
        return record

    async def remove_job(self, job_id: str) -> None:
        """Gives the job up, if it still runs, deletes its files that no other job has too, and shows it to
        its caller no more."""
        await self.cancel_job(job_id)
        keys = await self.store.remove_job(job_id, self.clock())
        await asyncio.gather(*(self.object_store.delete(key) for key in keys))

    async def _store_and_schedule(self, job: Job, n: int, account: Account) -> JobRecord:
        """Stored and scheduled: never the one without the other while the process lives."""
        record, created = await self.store.add_job(job, create_shards(job, n))
        if created:
            self.dispatcher.schedule_job(record, self.accounts.get_plan(account))
        return record

    async def _store_blocked_job(self, job: Job, n: int, error: ContentBlocked) -> JobRecord:
        """A job that has come to its end already, and costs nothing."""
        reason = JobError(code=error.code, message=error.message)
        refused = replace(job, price=0).transition_to(
            JobStatus.FAILED, finished_at=job.created_at, error=reason
        )
        return await self.store.add_rejected_job(refused, create_shards(job, n))

    def _create_job(self, key: ApiKey, prepared: PreparedRequest) -> Job:
        request, encoding = prepared.request, prepared.request.encoding
        params = {**prepared.params, **request.extra_params}
        if "seed" in params and params["seed"] is None:
            params["seed"] = self.random_bits(RANDOM_SEED_BITS)
        return Job(
            id=f"job_{self.random_bits(128):032x}",
            account_id=key.account.id,
            key_id=key.id,
            model=prepared.model.id,
            params=params,
            price=prepared.quote.micros,
            created_at=self.clock(),
            idempotency_key=request.idempotency_key,
            request_digest=prepared.digest,
            webhook_url=request.webhook_url,
            webhook_statuses=request.webhook_statuses,
            origin=request.origin,
            output_type=encoding.content_type if encoding else None,
            output_quality=encoding.quality if encoding else None,
        )

    async def _store_input_files(self, prepared: PreparedRequest) -> None:
        await asyncio.gather(
            *(
                self.object_store.put(key, file.data, file.content_type)
                for key, file in prepared.files.items()
            )
        )
