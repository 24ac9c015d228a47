"""The parts of a service, by role: what all processes need, what accepts jobs, and what runs them."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from math import ceil, inf

from comfy_instances.fleet.protocol import Fleet
from comfy_instances.hardware.profiles import load_gpu_profiles
from orchestrator.app.hosted_dialects import build_uploaded_files
from orchestrator.app.input_rules import (
    build_fetch_policy,
    build_input_reader,
    build_output_check,
)
from orchestrator.app.operator_secrets import load_operator_secrets
from orchestrator.app.provenance import build_marker
from orchestrator.app.resources import utc_now
from orchestrator.app.web_app import build_result_links
from orchestrator.billing.accounts import AccountService
from orchestrator.billing.own_prices import LiveTariffs
from orchestrator.billing.price_book import PriceBook
from orchestrator.billing.price_files import (
    check_model_priced,
    load_plans,
    open_live_tariffs,
    own_prices_file,
)
from orchestrator.catalog.live_catalog import LiveCatalog
from orchestrator.catalog.publishing.accepted_licenses import AcceptedLicenses
from orchestrator.execution.dispatcher import Dispatcher
from orchestrator.execution.inputs.lora_delivery import LoraDelivery
from orchestrator.execution.inputs.read_ahead import ReadAhead
from orchestrator.execution.inputs.shared_loras import SharedLoras
from orchestrator.execution.inputs.uploads import InputUploader
from orchestrator.execution.instances.capabilities import CapabilityCache
from orchestrator.execution.instances.capacity import JobScheduling
from orchestrator.execution.instances.instance_cleaner import InstanceCleaner
from orchestrator.execution.instances.warming import ModelWarmer, WarmPolicy
from orchestrator.execution.job_lifecycle import JobLifecycle
from orchestrator.execution.results.direct_delivery import DirectDelivery
from orchestrator.execution.results.expiry import ExpiryPolicy
from orchestrator.execution.results.object_deletion import ObjectDeleter
from orchestrator.execution.results.outputs import OutputStorage
from orchestrator.execution.results.preview_switch import PreviewSwitch
from orchestrator.execution.results.responses import ResponseTracker
from orchestrator.execution.runner import Runner
from orchestrator.execution.scheduler import Scheduler
from orchestrator.intake.license_policy import LicensePolicy
from orchestrator.intake.lora_resolver import LoraResolver, SharedLoraSource
from orchestrator.intake.request_preparer import RequestPreparer
from orchestrator.intake.uploaded_files import LIFETIME, UPLOAD_PREFIX
from orchestrator.jobs.events import EventHub
from orchestrator.jobs.objects import GRAPH_FILE_PREFIX, INPUT_PREFIX, LORA_PREFIX, OUTPUT_PREFIX
from orchestrator.jobs.traces import record_finished_job
from orchestrator.media.marks.marking import MediaMarker
from orchestrator.moderation import Moderation
from orchestrator.net.downloads import UrlFetcher
from orchestrator.net.webhook_urls import WebhookUrlChecker
from orchestrator.service import GenerationService
from orchestrator.settings import Settings, SettingsError
from orchestrator.storage.embedded_server import EmbeddedS3
from orchestrator.storage.object_store import ObjectStore, S3Config
from orchestrator.store import Store
from pricing.plans import Plans

#: Threads that encode images, check prompts and parse large bodies. Accounts use a few of them each; the
#: default of asyncio is four more than there are processors.
WORKER_THREADS = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceDependencies:
    """The implementations that a service uses."""

    live_catalog: LiveCatalog
    tariffs: LiveTariffs
    plans: Plans
    store: Store
    object_store: ObjectStore
    url_fetcher: UrlFetcher
    moderation: Moderation
    marker: MediaMarker


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceCore:
    """What accepting and running jobs have in common."""

    events: EventHub
    lifecycle: JobLifecycle
    accounts: AccountService
    expiry: ExpiryPolicy
    responses: ResponseTracker


@dataclass(frozen=True, kw_only=True, slots=True)
class Execution:
    """The parts that run jobs."""

    fleet: Fleet
    dispatcher: Dispatcher
    shared_loras: SharedLoras
    warmer: ModelWarmer
    capabilities: CapabilityCache


@dataclass(frozen=True, slots=True)
class Offer:
    """The models and their prices, from files."""

    live_catalog: LiveCatalog
    tariffs: LiveTariffs
    plans: Plans


def load_offer(settings: Settings, *, with_stand_ins: bool = True) -> Offer:
    """Read models, price lists and plans. Raises SettingsError, CatalogError, TariffError."""
    tariffs, plans = open_live_tariffs(settings), load_plans(settings)
    live_catalog = LiveCatalog(
        settings.workflows_dir,
        lambda model: check_model_priced(model, tariffs.current(), utc_now().date()),
        stand_ins=settings.stand_ins_path if with_stand_ins else None,
        published=settings.published_path,
        prices=own_prices_file(settings),
    )
    return Offer(live_catalog, tariffs, plans)


async def open_dependencies(
    settings: Settings,
    stack: AsyncExitStack,
    offer: Offer,
    store: Store,
    moderation: Moderation,
) -> ServiceDependencies:
    """Connect to everything that a process needs, until `stack` ends. Raises SettingsError."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(WORKER_THREADS, "worker"))
    marker = build_marker(settings)
    object_store = await stack.enter_async_context(ObjectStore(await ensure_s3_server(settings, stack)))
    # An S3 server of its own has started; another one may come back: /readyz says that it is missing.
    patience = settings.startup_seconds if settings.s3_endpoint is None else inf
    await object_store.ensure_bucket(retention_days(settings), timeout=patience)
    operator_secrets = load_operator_secrets(settings)
    links = build_result_links(operator_secrets, object_store, utc_now)
    uploads = build_uploaded_files(operator_secrets, object_store, utc_now)
    policy = build_fetch_policy(settings, object_store, links, uploads)
    return ServiceDependencies(
        live_catalog=offer.live_catalog,
        tariffs=offer.tariffs,
        plans=offer.plans,
        store=store,
        object_store=object_store,
        url_fetcher=await stack.enter_async_context(UrlFetcher(policy)),
        moderation=moderation,
        marker=marker,
    )


def build_core(
    settings: Settings,
    dependencies: ServiceDependencies,
    may_be_awaited_elsewhere: Callable[[str], bool] = lambda _: False,
) -> ServiceCore:
    """Return the parts that accepting and running jobs share within a process.

    `may_be_awaited_elsewhere` returns whether a connection of another process may wait for a job.
    """
    store, events = dependencies.store, EventHub()
    events.add_observer(record_finished_job)
    patience = timedelta(seconds=settings.undelivered_seconds)
    return ServiceCore(
        events=events,
        lifecycle=JobLifecycle(store, events, utc_now),
        accounts=AccountService(store, dependencies.plans, utc_now),
        expiry=build_expiry(settings),
        responses=ResponseTracker(store, utc_now, patience, may_be_awaited_elsewhere),
    )


def build_execution(
    settings: Settings, dependencies: ServiceDependencies, fleet: Fleet, core: ServiceCore
) -> Execution:
    """Connect the parts that run jobs, without starting any."""
    preferred_dtypes = {profile.name: profile.weights for profile in load_gpu_profiles()}
    capabilities = CapabilityCache(fleet, preferred_dtypes, build_output_check(settings))
    delivery = DirectDelivery(
        dependencies.object_store,
        enabled=settings.direct_delivery,
        on_chosen=core.events.notify_observers,
    )
    outputs = OutputStorage(
        dependencies.object_store,
        settings.store_patience_seconds,
        delivery,
        dependencies.marker,
        core.events.notify_observers,
    )
    runner = Runner(
        fleet=fleet,
        capabilities=capabilities,
        delivery=delivery,
        previews=PreviewSwitch(core.events),
        cleaner=InstanceCleaner(fleet),
        input_uploader=InputUploader(dependencies.object_store, delivery, lambda: secrets.token_hex(16)),
        lora_delivery=LoraDelivery(dependencies.object_store, fleet),
        output_storage=outputs,
        lifecycle=core.lifecycle,
        events=core.events,
        stall_seconds=settings.stall_seconds,
    )
    dispatcher = Dispatcher(
        live_catalog=dependencies.live_catalog,
        scheduler=Scheduler(max_attempts=settings.max_attempts),
        runner=runner,
        lifecycle=core.lifecycle,
        store=dependencies.store,
        accounts=core.accounts,
        clock=utc_now,
        max_job_seconds=settings.max_job_seconds,
    )
    return Execution(
        fleet=fleet,
        dispatcher=dispatcher,
        shared_loras=SharedLoras(fleet, capabilities),
        warmer=_build_warmer(settings, dependencies.live_catalog, dispatcher, capabilities, core.events),
        capabilities=capabilities,
    )


def _build_warmer(
    settings: Settings,
    live_catalog: LiveCatalog,
    dispatcher: Dispatcher,
    capabilities: CapabilityCache,
    events: EventHub,
) -> ModelWarmer:
    return ModelWarmer(
        dispatcher=dispatcher,
        live_catalog=live_catalog,
        capabilities=capabilities,
        events=events,
        read_ahead=ReadAhead(settings.models_dir),
        policy=WarmPolicy(instances=settings.warm, idle_seconds=settings.warm_idle_seconds),
    )


def build_service(
    settings: Settings,
    dependencies: ServiceDependencies,
    core: ServiceCore,
    scheduling: JobScheduling,
    shared_loras: SharedLoraSource,
) -> GenerationService:
    """Return what accepts jobs and hands them to `scheduling`."""
    lora_resolver = LoraResolver(
        store=dependencies.store,
        shared=shared_loras,
        expiry=core.expiry,
        live_catalog=dependencies.live_catalog,
    )
    return GenerationService(
        live_catalog=dependencies.live_catalog,
        request_preparer=RequestPreparer(
            live_catalog=dependencies.live_catalog,
            get_price_book=lambda: PriceBook(dependencies.tariffs.current(), utc_now().date()),
            input_reader=build_input_reader(settings, dependencies.url_fetcher),
            webhook_urls=WebhookUrlChecker(allow_private=settings.allow_private_urls),
            lora_resolver=lora_resolver,
        ),
        accounts=core.accounts,
        store=dependencies.store,
        object_store=dependencies.object_store,
        deleter=ObjectDeleter(dependencies.store, dependencies.object_store, core.events, utc_now),
        dispatcher=scheduling,
        lifecycle=core.lifecycle,
        events=core.events,
        moderation=dependencies.moderation,
        marker=dependencies.marker,
        expiry=core.expiry,
        clock=utc_now,
        responses=core.responses,
        random_bits=random.SystemRandom().getrandbits,
        licenses=build_license_policy(settings, dependencies.live_catalog),
        max_wait_seconds=settings.max_wait_seconds,
    )


def build_license_policy(settings: Settings, live_catalog: LiveCatalog) -> LicensePolicy:
    """Return the policy about models that may not be sold, and name these in the log."""
    accepted = AcceptedLicenses(settings.published_path)
    policy = LicensePolicy(accepted, settings.licenses == "strict", lambda: live_catalog.catalog)
    policy.log_unaccepted()
    return policy


def build_expiry(settings: Settings) -> ExpiryPolicy:
    """Return how long jobs and LoRAs are kept."""
    lora_lifetime = timedelta(days=settings.lora_lifetime_days)
    return ExpiryPolicy(timedelta(days=settings.output_lifetime_days), utc_now, lora_lifetime)


def retention_days(settings: Settings) -> dict[str, int]:
    """Return the days after which the bucket deletes files by itself, by prefix.

    These rules come after the sweeper, and count whole days.
    """
    days = ceil(settings.output_lifetime_days) + 1
    lora_days = max(days, ceil(settings.lora_lifetime_days) + 1)
    uploads = {UPLOAD_PREFIX: ceil(LIFETIME / timedelta(days=1)) + 1}
    prefixes = {INPUT_PREFIX: days, OUTPUT_PREFIX: days, GRAPH_FILE_PREFIX: days, LORA_PREFIX: lora_days}
    return {**prefixes, **uploads}


async def ensure_s3_server(settings: Settings, stack: AsyncExitStack) -> S3Config:
    """Return access to the configured S3 server, or start an embedded one that `stack` stops."""
    if settings.s3_endpoint is None:
        server = EmbeddedS3(settings.data_dir / "s3")
        await server.start()
        stack.push_async_callback(server.stop)
        config = server.bucket_config(settings.s3_bucket, settings.s3_public_endpoint)
        return replace(config, instance_endpoint=settings.s3_instance_endpoint)
    if settings.s3_access_key is None or settings.s3_secret_key is None:
        raise SettingsError(
            "PIXELFACTORY_S3_ENDPOINT also needs PIXELFACTORY_S3_ACCESS_KEY and PIXELFACTORY_S3_SECRET_KEY"
        )
    return S3Config(
        endpoint=settings.s3_endpoint,
        access_key=settings.s3_access_key.get_secret_value(),
        secret_key=settings.s3_secret_key.get_secret_value(),
        bucket=settings.s3_bucket,
        region=settings.s3_region,
        public_endpoint=settings.s3_public_endpoint,
        instance_endpoint=settings.s3_instance_endpoint,
    )
