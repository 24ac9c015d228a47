"""The operations that callers may request: quote, submit, get, list, wait for, cancel and remove jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

from comfy_instances.tasks import spawn
from orchestrator.billing.accounts import AccountService
from orchestrator.billing.charging import BATCH_PARAM, MINIMUM_PARAM
from orchestrator.billing.ledger_rules import without_balance
from orchestrator.billing.price_book import PriceBook
from orchestrator.catalog import Catalog, Model
from orchestrator.catalog.live_catalog import LiveCatalog
from orchestrator.catalog.parameters.values import largest_first_seed
from orchestrator.errors import (
    Conflict,
    ContentBlocked,
    Forbidden,
    InsufficientBalance,
    InvalidRequest,
    NotFound,
    ServiceUnavailable,
)
from orchestrator.execution.instances.capacity import JobScheduling
from orchestrator.execution.job_lifecycle import Clock, JobLifecycle
from orchestrator.execution.results.expiry import ExpiryPolicy
from orchestrator.execution.results.object_deletion import ObjectDeleter
from orchestrator.execution.results.responses import ResponseTracker
from orchestrator.fair_slots import FairSlots
from orchestrator.intake.admission import check_capacity
from orchestrator.intake.field_names import errors_name_fields
from orchestrator.intake.input_slots import InputOwner, InputPurpose
from orchestrator.intake.license_policy import LicensePolicy
from orchestrator.intake.model_names import errors_name_model, name_model_in_each
from orchestrator.intake.request_preparer import (
    GenerationRequest,
    InputContent,
    PreparedRequest,
    RequestPreparer,
)
from orchestrator.jobs import (
    MODEL_VERSION_PARAM,
    Job,
    JobError,
    JobRecord,
    JobStatus,
    PendingResponse,
    create_shards,
)
from orchestrator.jobs.events import EventHub, JobChanged, StateSubscription
from orchestrator.jobs.loras import LORA_OBJECTS_PARAM
from orchestrator.jobs.objects import DeletionReason
from orchestrator.jobs.traces import trace_params
from orchestrator.media.marks.marking import MediaMarker
from orchestrator.moderation import Moderation
from orchestrator.own_graphs import OWN_GRAPH_ID
from orchestrator.own_graphs.model import model_of_job
from orchestrator.storage.object_store import ObjectStore
from orchestrator.store import Account, ApiKey, ApiKeyScope, Page, Store, WebhookMessage
from orchestrator.store.availability import until_store_answers
from orchestrator.tracing import span
from pricing.tariff import Tariff

#: Random seeds stay below 2^53, so that every JSON parser represents them exactly.
RANDOM_SEED_BITS = 53


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationService:
    """Accepts jobs durably and hands them to the dispatcher; reads, cancels and removes them."""

    live_catalog: LiveCatalog
    request_preparer: RequestPreparer
    accounts: AccountService
    store: Store
    object_store: ObjectStore
    deleter: ObjectDeleter
    dispatcher: JobScheduling
    lifecycle: JobLifecycle
    events: EventHub
    moderation: Moderation
    marker: MediaMarker
    expiry: ExpiryPolicy
    clock: Clock
    responses: ResponseTracker
    #: Returns an integer of this many random bits, like `random.getrandbits`.
    random_bits: Callable[[int], int]
    licenses: LicensePolicy
    #: Longest expected wait, in seconds; requests that would wait longer are rejected.
    max_wait_seconds: float
    #: Uploads of input files to the object store, which has few connections.
    upload_slots: FairSlots = field(
        default_factory=partial(FairSlots, "input files", 6, per_account=3, max_waiting=1024)
    )

    @property
    def catalog(self) -> Catalog:
        """The models that are offered now."""
        return self.live_catalog.catalog

    @property
    def price_book(self) -> PriceBook:
        """The price lists of today; a job keeps the price of the day on which it was accepted."""
        return self.request_preparer.get_price_book()

    def catalog_for(self, key: ApiKey) -> Catalog:
        """Return the models that a key's account may call: those that are offered, and its drafts."""
        return self.live_catalog.visible_to(key.account.id)

    def get_model(self, job: Job) -> Model:
        """Return the model of an accepted job, even if it is no longer offered. Raises InvalidRequest."""
        return model_of_job(self.live_catalog, job)

    @property
    def default_tariff(self) -> Tariff:
        """The default price list of today."""
        return self.price_book.default_tariff

    async def quote(self, key: ApiKey, request: GenerationRequest) -> PreparedRequest:
        """Validate a request and return it with its price. Raises InvalidRequest, RateLimited."""
        owner = InputOwner(key.account.id, InputPurpose.QUOTE)
        return await self._prepare(request, owner)

    async def submit(self, key: ApiKey, request: GenerationRequest) -> JobRecord:
        """Accept a job; when this returns, the job is stored and its price is held.

        A repeated idempotency key with the same request returns the first job. Raises InvalidRequest,
        ContentBlocked, Forbidden, InsufficientBalance, Conflict, RateLimited, ServiceUnavailable; then
        nothing is held.
        """
        owner = InputOwner(key.account.id, InputPurpose.JOB)
        return await self.submit_prepared(key, await self._prepare(request, owner))

    async def submit_prepared(
        self, key: ApiKey, prepared: PreparedRequest, job_id: str | None = None
    ) -> JobRecord:
        """Do the same with a request that is prepared already; `job_id` is chosen by the caller."""
        request = prepared.request
        if not key.can_use_model(prepared.model.id):
            raise Forbidden(
                f"This API key may not use model {request.model}", code="model_not_allowed", param="model"
            )
        if not request.is_free:
            self.licenses.check(prepared.model, prepared.quote.micros, request.shown_model or request.model)
        job = self._create_job(key, prepared, job_id)
        existing = await self.store.find_job_by_idempotency_key(job) if job.idempotency_key else None
        if existing is None and request.is_retry and job.idempotency_key is None:
            existing = await self.responses.claim(job)
        if existing:
            return self.expiry.require_unexpired(existing)
        try:
            with errors_name_fields(request.field_names):
                await self.moderation.check(key.account.id, prepared.user_texts)
        except ContentBlocked as error:
            if request.store_blocked_job:
                return await self._store_blocked_job(job, prepared.params["n"], error)
            raise
        capacity = await self.dispatcher.find_capacity(key.account.id, self._scheduled_name(prepared.model))
        check_capacity(capacity, request.shown_model or request.model, self.max_wait_seconds)
        files = prepared.files_of_job(job.id)
        await self._store_input_files(key.account.id, files)
        await self.accounts.renew_allowance(key.account)
        return await self._accept(job, [*files, *prepared.lora_objects.values()], key)

    async def _accept(self, job: Job, input_keys: Sequence[str], key: ApiKey) -> JobRecord:
        """Store a job and schedule it, or neither; cancel it if the caller disconnects meanwhile."""
        if job.pending_response is not None:
            self.responses.begin(job.id)
        storing = self._store_and_schedule(job, input_keys, key.account)
        accepting = spawn(storing, "accept job", job.id, awaited=True)
        try:
            return await asyncio.shield(accepting)
        except InsufficientBalance as error:
            raise (error if key.has_scope(ApiKeyScope.BILLING) else without_balance(error)) from error
        except asyncio.CancelledError:
            # The caller disconnected and does not know the job id: cancel the job, so that it is not charged.
            # With an idempotency key the caller can send the request again and get this job.
            await asyncio.wait({accepting})
            if job.idempotency_key is None and accepting.exception() is None:
                await self.abandon_job(job.id)
            self.responses.end(job.id)
            raise
        except BaseException:
            self.responses.end(job.id)
            raise

    def new_job_id(self) -> str:
        """Return the id of a new job."""
        return f"job_{self.random_bits(128):032x}"

    async def get_job(self, account_id: str, job_id: str) -> JobRecord:
        """Return a job of the account. Raises NotFound, also for jobs of other accounts, and Gone."""
        record = await self.store.find_job(job_id)
        if record is None or record.job.account_id != account_id or record.job.removed_at is not None:
            raise NotFound("Job not found", code="job_not_found")
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
        """Return a page of the account's jobs, newest first; `model` is an id, an alias or a stand-in.

        An alias finds all jobs of its model, a stand-in those that asked for it.
        """
        catalog = self.live_catalog.visible_to(account_id)
        models = None if model is None else [model, *catalog.ids_with_alias(model)]
        return await self.store.list_jobs(account_id, limit, cursor, status, models=models)

    async def list_video_jobs(
        self, account_id: str, *, limit: int, cursor: str | None, oldest_first: bool
    ) -> Page[JobRecord]:
        """Return a page of the account's video jobs."""
        models = [model.id for model in self.live_catalog.known_models(account_id) if model.makes_video]
        return await self.store.list_jobs(account_id, limit, cursor, models=models, oldest_first=oldest_first)

    async def wait_for_job(self, job_id: str) -> JobRecord:
        """Wait until a job finishes and return it. Raises ServiceUnavailable if the service stops first."""
        with self.events.subscribe(job_id, StateSubscription()) as subscription:
            if self.events.expects_end(job_id):
                record = self.events.take_end(job_id)
            else:
                record = await until_store_answers(lambda: self.store.find_job(job_id), "find_job")
            if record and record.job.is_finished:
                return record
            async for event in subscription:
                if isinstance(event, JobChanged) and event.record.job.is_finished:
                    return event.record
        raise ServiceUnavailable("The service is shutting down; retry", code="shutting_down", retry_after=5)

    async def replay_webhook(self, account_id: str, job_id: str) -> WebhookMessage:
        """Send the webhook of a finished job again. Raises NotFound, Gone, InvalidRequest."""
        job = (await self.get_job(account_id, job_id)).job
        message = await self.store.find_job_message(job.id)
        if message is None:
            reason = "has no webhook_url" if job.is_finished else "is not finished yet"
            if job.is_webhook_excluded:
                reason = f"has {job.status}, and its request asked for no message about that"
            raise InvalidRequest(f"The webhook cannot be sent again: the job {reason}", code="no_webhook")
        return await self.store.replay_message(message.id, self.clock())

    def record_bytes_sent(self, record: JobRecord, size: int | None = None) -> None:
        """Record soon that the service itself sent `size` bytes of a job's outputs, by default all of them.

        The bytes count towards the costs of the job. A store that does not take them delays no response.
        """
        sent, now = sum(output.size for output in record.outputs) if size is None else size, self.clock()
        self.responses.in_background(
            lambda: self.store.record_bytes_sent(record.job.id, sent, now), "record_bytes_sent", record.job.id
        )

    async def cancel_job(self, job_id: str) -> JobRecord:
        """Cancel a job without charge; a finished job stays unchanged.

        Waiting shards are removed at once, running ones stop at the next step of their instance.
        """
        record = await self.lifecycle.cancel_job(job_id)
        self.dispatcher.cancel_job(job_id)
        return record

    async def cancel_shard(self, record: JobRecord, index: int) -> JobRecord:
        """Cancel one shard of a job; the others go on. A shard or job that has ended stays unchanged.

        The price falls by the shard's share, and not below the minimum of a request.
        """
        shard = record.shards[index]
        changed = await self.lifecycle.cancel_shard(record.job.id, index)
        self.dispatcher.cancel_shard(record.job.id, shard.id)
        return changed

    async def abandon_job(self, job_id: str) -> None:
        """Cancel a job whose caller has gone. It stops at once, and is released when the store takes it."""
        self.dispatcher.cancel_job(job_id)
        await self.responses.in_background_for_a_moment(
            lambda: self.lifecycle.abandon_job(job_id), "abandon_job", job_id
        )

    async def remove_job(self, job_id: str) -> None:
        """Cancel an unfinished job, hide it from its caller and delete its files.

        Files that object storage does not delete at once are deleted later.
        """
        await self.cancel_job(job_id)
        await self.deleter.delete_condemned(await self.store.remove_job(job_id, self.clock()))

    async def _store_and_schedule(self, job: Job, input_keys: Sequence[str], account: Account) -> JobRecord:
        """Store a job and schedule it; the caller shields this from cancellation, so that both happen.

        Where an instance is free, the first attempts are stored in the transaction of the job.
        """
        shards, plan = create_shards(job, job.params["n"]), self.accounts.get_plan(account)
        reservation = self.dispatcher.reserve_job(job, shards, plan)
        attempts, created = reservation.attempts if reservation else (), False
        if reservation and job.pending_response is PendingResponse.RESULT:
            # It runs in this process, which learns of its end.
            self.events.expect_end(job.id)
        try:
            with span("accept", {"pixelfactory.job.id": job.id}):
                record, created = await self.store.add_job(job, shards, input_keys, attempts)
        except (Conflict, InsufficientBalance):
            await self._discard_inputs(input_keys)
            raise
        finally:
            if reservation and not created:
                self.dispatcher.withdraw_job(job.id)
                self.events.take_end(job.id)
        if created:
            self.dispatcher.schedule_job(record, plan)
        else:
            await self._discard_inputs(input_keys)
        return record

    async def _discard_inputs(self, keys: Sequence[str]) -> None:
        """Have the input files of a job that was not accepted deleted."""
        if not keys:
            return
        with suppress(ServiceUnavailable):  # they are found as orphans later
            await self.store.discard_files(keys, DeletionReason.UNUSED, self.clock())
            self.deleter.wake()

    async def _store_blocked_job(self, job: Job, n: int, error: ContentBlocked) -> JobRecord:
        """Store a rejected request as a failed job without a price."""
        reason = JobError(code=error.code, message=error.message)
        rejected = replace(job, price=0, pending_response=None).transition_to(
            JobStatus.FAILED, finished_at=job.created_at, error=reason
        )
        return await self.store.add_rejected_job(rejected, create_shards(job, n))

    async def _prepare(self, request: GenerationRequest, owner: InputOwner) -> PreparedRequest:
        """Validate a request; errors and warnings name the model as the request did."""
        catalog = self.live_catalog.visible_to(owner.account_id)
        with span("prepare"), errors_name_model(request.model, catalog):
            prepared = await self.request_preparer.prepare(request, owner)
        warnings = name_model_in_each(prepared.request.warnings, request.model, catalog)
        return replace(prepared, request=replace(prepared.request, warnings=warnings))

    def _create_job(self, key: ApiKey, prepared: PreparedRequest, job_id: str | None) -> Job:
        request, encoding = prepared.request, prepared.request.encoding
        job_id = job_id or self.new_job_id()
        params = {**prepared.params_of_job(job_id), **request.extra_params, **trace_params()}
        if prepared.lora_objects:
            params[LORA_OBJECTS_PARAM] = dict(prepared.lora_objects)
        batch = prepared.model.manifest.batch
        if batch > 1:
            params[BATCH_PARAM] = batch
        if params["n"] * batch > 1:
            params[MINIMUM_PARAM] = prepared.quote.minimum_micros
        if (version := self.live_catalog.kept_version(prepared.model)) is not None:
            params[MODEL_VERSION_PARAM] = version
        if "seed" in params and params["seed"] is None:
            most = largest_first_seed(prepared.model.parameters, params["n"])
            params["seed"] = self.random_bits(RANDOM_SEED_BITS) % (most + 1)
        return Job(
            id=job_id,
            account_id=key.account.id,
            key_id=key.id,
            model=prepared.model.id,
            params=params,
            price=0 if request.is_free else prepared.quote.micros,
            created_at=self.clock(),
            idempotency_key=request.idempotency_key,
            request_digest=prepared.digest,
            webhook_url=request.webhook_url,
            webhook_statuses=request.webhook_statuses,
            requested_model=None if request.model == prepared.model.id else request.model,
            warnings=request.warnings,
            origin=request.origin,
            output_type=encoding.content_type if encoding else None,
            output_quality=encoding.quality if encoding else None,
            pending_response=_pending_response(request),
        )

    def _scheduled_name(self, model: Model) -> str:
        """Return the name by which instances are known to serve the model: its version, if it is a draft."""
        if model.is_own_graph:
            return OWN_GRAPH_ID
        return model.id if self.live_catalog.is_current(model) else model.digest

    async def _store_input_files(self, account_id: str, files: Mapping[str, InputContent]) -> None:
        async def store(key: str, file: InputContent) -> None:
            async with self.upload_slots.slot(account_id):
                await self.object_store.put(key, file.data, file.content_type)

        await asyncio.gather(*(store(key, file) for key, file in files.items()))


def _pending_response(request: GenerationRequest) -> PendingResponse | None:
    """Return what only the response brings: nothing with an idempotency key, the id with a webhook."""
    if request.idempotency_key is not None or request.pending_response is None:
        return None
    return PendingResponse.ID if request.webhook_url is not None else request.pending_response
