"""What a caller may ask: a price, a generation, what became of it, and to give it up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from orchestrator.billing.accounts import Accounts
from orchestrator.billing.price_book import PriceLists
from orchestrator.catalog import Catalog, Model
from orchestrator.catalog.live_catalog import LiveCatalog
from orchestrator.errors import Blocked, Forbidden, InvalidRequest, NotFound, ServiceError, Unavailable
from orchestrator.execution.dispatcher import Dispatcher
from orchestrator.execution.expiry import Expiry
from orchestrator.execution.job_lifecycle import Clock, Settlement
from orchestrator.intake.admission import check_room
from orchestrator.intake.request_preparer import Desk, GenerationRequest, Order
from orchestrator.jobs import Job, JobError, JobRecord, JobStatus, shards_of
from orchestrator.jobs.events import EventHub, JobChanged
from orchestrator.moderation import Moderation
from orchestrator.storage.object_store import ObjectStore
from orchestrator.store import Account, ApiKey, Page, Store, WebhookMessage
from pricing.tariff import Tariff

#: Drawn seeds stay below 2^53, so that every JSON reader gives them back exactly.
DRAWN_SEED_BITS = 53


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """The walk of a request up to its promise; the dispatcher keeps it."""

    live: LiveCatalog
    desk: Desk
    accounts: Accounts
    store: Store
    objects: ObjectStore
    dispatcher: Dispatcher
    settlement: Settlement
    events: EventHub
    moderation: Moderation
    expiry: Expiry
    clock: Clock
    #: Gives that many random bits, as `random.getrandbits` does.
    random_bits: Callable[[int], int]
    #: Expected seconds of waiting beyond which requests are refused.
    max_wait: float

    @property
    def catalog(self) -> Catalog:
        """The models of this moment."""
        return self.live.catalog

    @property
    def prices_now(self) -> PriceLists:
        """The price lists as they are today; a job keeps the price of the day it came in."""
        return self.desk.prices()

    def model_of(self, job: Job) -> Model:
        """The model of an accepted job, which may not be offered any more. Raises InvalidRequest."""
        return self.live.last(job.model)

    @property
    def tariff(self) -> Tariff:
        """Our own price list of today."""
        return self.prices_now.ours

    async def quote(self, request: GenerationRequest) -> Order:
        """The request as it would run, and what it would cost. Raises InvalidRequest."""
        return await self.desk.quote(request)

    async def submit(self, key: ApiKey, request: GenerationRequest) -> JobRecord:
        """Accepts a job: when this returns it is on disk and its price is held.

        The same idempotency key and request give the job of the first time. Raises InvalidRequest,
        Blocked, Forbidden, InsufficientBalance, Conflict, Unavailable; then nothing is held.
        """
        order = await self.quote(request)
        if not key.can_use_model(order.model.id):
            raise Forbidden(
                f"This API key may not use {order.model.id}", code="model_not_allowed", param="model"
            )
        job = self._job(key, order)
        known = await self.store.find_job_by_idempotency_key(job) if job.idempotency_key else None
        if known:
            return self.expiry.checked(known)
        try:
            await self.moderation.check(key.account.id, order.texts)
        except Blocked as error:
            if request.keep_blocked:
                return await self._keep_blocked(job, order.params["n"], error)
            raise
        check_room(self.dispatcher, key.account.id, order.model.id, self.max_wait)
        await self._keep_files(order)
        await self.accounts.renew(key.account)
        accepting = asyncio.ensure_future(self._accept(job, order.params["n"], key.account))
        try:
            return await asyncio.shield(accepting)
        except asyncio.CancelledError:
            # Nobody will hear of this job, so nobody shall pay for it, unless a key says that they ask again.
            with suppress(ServiceError):
                await accepting
                if job.idempotency_key is None:
                    await self.cancel(job.id)
            raise

    async def get(self, account_id: str, job_id: str) -> JobRecord:
        """One of the account's jobs. Raises Gone where it has expired, NotFound for others' jobs too."""
        record = await self.store.find_job(job_id)
        if record is None or record.job.account_id != account_id or record.job.removed_at is not None:
            raise NotFound("There is no such job", code="job_not_found")
        return self.expiry.checked(record)

    async def jobs(
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

    async def videos(
        self, account_id: str, *, limit: int, cursor: str | None, oldest_first: bool
    ) -> Page[JobRecord]:
        """The account's jobs that make films."""
        models = [model.id for model in self.catalog if model.makes_video]
        return await self.store.list_jobs(account_id, limit, cursor, models=models, oldest_first=oldest_first)

    async def wait(self, job_id: str) -> JobRecord:
        """The finished job. Raises Unavailable when the service stops before that."""
        with self.events.subscribe(job_id) as subscription:
            record = await self.store.find_job(job_id)
            if record and record.job.finished:
                return record
            async for event in subscription:
                if isinstance(event, JobChanged) and event.record.job.finished:
                    return event.record
        raise Unavailable("The service is shutting down", code="shutting_down", retry_after=5)

    async def replay_webhook(self, account_id: str, job_id: str) -> WebhookMessage:
        """Tells whom a finished job of the account names once more. Raises NotFound, InvalidRequest."""
        job = (await self.get(account_id, job_id)).job
        message = await self.store.find_job_message(job.id)
        if message is None:
            reason = "was given no webhook_url" if job.finished else "is not finished"
            raise InvalidRequest(f"The job {reason}", code="no_webhook")
        return await self.store.replay_message(message.id, self.clock())

    async def count_sent(self, record: JobRecord, size: int | None = None) -> None:
        """Notes that a caller was sent so many bytes of a job's outputs, or all, through us: it shows in what
        the job cost."""
        if size is None:
            size = sum(output.size for output in record.outputs)
        await self.store.record_bytes_sent(record.job.id, size, self.clock())

    async def cancel(self, job_id: str) -> JobRecord:
        """Gives a job up: waiting shards go at once, running ones at their instance's next step, and
        nothing is charged. A finished job stays as it is."""
        record = await self.settlement.cancel(job_id)
        self.dispatcher.drop(job_id)
        return record

    async def remove(self, job_id: str) -> None:
        """Gives the job up, if it still runs, deletes its files that no other job has too, and shows it to
        its caller no more."""
        await self.cancel(job_id)
        keys = await self.store.remove_job(job_id, self.clock())
        await asyncio.gather(*(self.objects.delete(key) for key in keys))

    async def _accept(self, job: Job, n: int, account: Account) -> JobRecord:
        """Stored and scheduled: never the one without the other while the process lives."""
        record, created = await self.store.add_job(job, shards_of(job, n))
        if created:
            self.dispatcher.add(record, self.accounts.plan_of(account))
        return record

    async def _keep_blocked(self, job: Job, n: int, error: Blocked) -> JobRecord:
        """A job that has come to its end already, and costs nothing."""
        reason = JobError(code=error.code, message=error.message)
        refused = replace(job, price=0).to(JobStatus.FAILED, finished_at=job.created_at, error=reason)
        return await self.store.add_rejected_job(refused, shards_of(job, n))

    def _job(self, key: ApiKey, order: Order) -> Job:
        request, encoding = order.request, order.request.encoding
        params = {**order.params, **request.notes}
        if "seed" in params and params["seed"] is None:
            params["seed"] = self.random_bits(DRAWN_SEED_BITS)
        return Job(
            id=f"job_{self.random_bits(128):032x}",
            account_id=key.account.id,
            key_id=key.id,
            model=order.model.id,
            params=params,
            price=order.quote.micros,
            created_at=self.clock(),
            idempotency_key=request.idempotency_key,
            request_digest=order.digest,
            webhook_url=request.webhook_url,
            webhook_ends=request.webhook_ends,
            origin=request.origin,
            output_type=encoding.content_type if encoding else None,
            output_quality=encoding.quality if encoding else None,
        )

    async def _keep_files(self, order: Order) -> None:
        await asyncio.gather(
            *(self.objects.put(key, file.data, file.content_type) for key, file in order.files.items())
        )
