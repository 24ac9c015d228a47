"""Builds and starts the service from its settings; the only module that chooses implementations."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import secrets
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from math import ceil

from aiohttp import web

from comfy_instances.fleet.fleet_factory import RunComfyUI, RunSimulators, choose_fleet_kind, create_fleet
from comfy_instances.fleet.protocol import Fleet
from comfy_instances.hardware.gpus import discover_gpus
from comfy_instances.hardware.profiles import load_gpu_profiles
from comfy_instances.process.installation import find_installation
from orchestrator.app.input_rules import (
    build_fetch_policy,
    build_input_reader,
    build_output_check,
    open_moderation,
)
from orchestrator.app.ray_fleet import build_ray_fleet, serve_ray_fleet
from orchestrator.app.resources import load_operator_secrets, open_store, utc_now
from orchestrator.app.task_failures import observe_task_failures
from orchestrator.app.web_app import (
    Delivery,
    build_delivery,
    build_result_links,
    build_web_app,
    build_webhook_payloads,
)
from orchestrator.billing.accounts import AccountService
from orchestrator.billing.price_book import PriceBook
from orchestrator.billing.price_files import check_model_priced, load_plans, load_tariffs
from orchestrator.catalog.live_catalog import LiveCatalog
from orchestrator.data_directory import make_data_private
from orchestrator.execution.capabilities import CapabilityCache
from orchestrator.execution.dispatcher import Dispatcher
from orchestrator.execution.expiry import ExpiredFileSweeper, ExpiryPolicy
from orchestrator.execution.job_lifecycle import JobLifecycle
from orchestrator.execution.lora_delivery import LoraDelivery
from orchestrator.execution.object_deletion import ObjectDeleter
from orchestrator.execution.orphan_sweeper import OrphanPolicy, OrphanSweeper
from orchestrator.execution.outputs import OutputStorage
from orchestrator.execution.reconciler import Reconciler
from orchestrator.execution.responses import ResponseTracker
from orchestrator.execution.runner import Runner
from orchestrator.execution.scheduler import Scheduler
from orchestrator.execution.shared_loras import SharedLoras
from orchestrator.execution.uploads import InputUploader
from orchestrator.intake.lora_resolver import LoraResolver
from orchestrator.intake.request_preparer import RequestPreparer
from orchestrator.jobs.events import EventHub
from orchestrator.jobs.objects import INPUT_PREFIX, LORA_PREFIX, OUTPUT_PREFIX
from orchestrator.moderation import Moderation
from orchestrator.net.downloads import UrlFetcher
from orchestrator.net.webhook_urls import WebhookUrlChecker
from orchestrator.service import GenerationService
from orchestrator.settings import Settings, SettingsError
from orchestrator.storage.embedded_server import EmbeddedS3
from orchestrator.storage.object_store import ObjectStore, S3Config
from orchestrator.store import Store
from orchestrator.webhooks.sender import WebhookSender
from pricing.book import TariffRevisions
from pricing.plans import Plans

log = logging.getLogger(__name__)

#: Threads that encode images, check prompts and parse large bodies. Accounts use a few of them each; the
#: default of asyncio is four more than there are processors.
WORKER_THREADS = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class RunningService:
    """A started service without its listening socket."""

    app: web.Application
    service: GenerationService
    drain_seconds: float

    async def drain(self) -> None:
        """Wait for running shards, then fail the requests that still wait for a job with 503."""
        await self.service.dispatcher.stop(self.drain_seconds)
        self.service.events.close()


@asynccontextmanager
async def run_service(settings: Settings) -> AsyncIterator[RunningService]:
    """Start the service and stop everything when the context ends. Raises SettingsError, FleetError."""
    make_data_private(settings)
    tariffs, plans = load_tariffs(settings), load_plans(settings)
    live_catalog = LiveCatalog(
        settings.workflows_dir,
        lambda model: check_model_priced(model, tariffs, utc_now().date()),
        stand_ins=settings.stand_ins_path,
    )
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(WORKER_THREADS, "worker"))
    async with AsyncExitStack() as stack:
        moderation = await open_moderation(settings, stack)
        store = await stack.enter_async_context(open_store(settings))
        operator_secrets = load_operator_secrets(settings)
        fleet = build_fleet(settings, live_catalog)
        stack.push_async_callback(fleet.stop)
        await fleet.start()
        object_store = await stack.enter_async_context(ObjectStore(await ensure_s3_server(settings, stack)))
        await object_store.ensure_bucket(retention_days(settings), timeout=settings.startup_seconds)
        links = build_result_links(operator_secrets, object_store, utc_now)
        policy = build_fetch_policy(settings, object_store, links)
        url_fetcher = await stack.enter_async_context(UrlFetcher(policy))
        dependencies = ServiceDependencies(
            live_catalog=live_catalog,
            tariffs=tariffs,
            plans=plans,
            store=store,
            fleet=fleet,
            object_store=object_store,
            url_fetcher=url_fetcher,
            moderation=moderation,
        )
        service = build_service(settings, dependencies)
        # The metrics subscribe to events before any job is scheduled.
        delivery = build_delivery(settings, service, operator_secrets)
        app = build_web_app(settings, service, operator_secrets, delivery)
        stack.enter_context(observe_task_failures(service.events))
        await start_webhooks(settings, service, delivery, stack)
        service.deleter.start()
        stack.push_async_callback(service.deleter.stop)
        await stack.enter_async_context(ExpiredFileSweeper(store, service.deleter, service.expiry))
        orphan_sweeper = build_orphan_sweeper(settings, service)
        await orphan_sweeper.start()
        stack.push_async_callback(orphan_sweeper.stop)
        serve_ray_fleet(fleet, object_store, service.dispatcher.scheduler, stack)
        await service.dispatcher.start()
        reconciler = build_reconciler(settings, service)
        reconciler.start()
        stack.push_async_callback(reconciler.stop)
        live_catalog.subscribe(service.dispatcher.refresh_servable_models)
        live_catalog.start()
        stack.push_async_callback(live_catalog.stop)
        stack.push_async_callback(service.responses.stop)
        stack.push_async_callback(service.dispatcher.stop, 0.0)
        yield RunningService(app=app, service=service, drain_seconds=settings.drain_seconds)


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceDependencies:
    """The implementations that a service uses."""

    live_catalog: LiveCatalog
    tariffs: TariffRevisions
    plans: Plans
    store: Store
    fleet: Fleet
    object_store: ObjectStore
    url_fetcher: UrlFetcher
    moderation: Moderation


def build_service(settings: Settings, dependencies: ServiceDependencies) -> GenerationService:
    """Connect the components of a service, without starting any."""
    events = EventHub()
    lifecycle = JobLifecycle(dependencies.store, events, utc_now)
    accounts = AccountService(dependencies.store, dependencies.plans, utc_now)
    preferred_dtypes = {profile.name: profile.weights for profile in load_gpu_profiles()}
    capabilities = CapabilityCache(dependencies.fleet, preferred_dtypes, build_output_check(settings))
    expiry = build_expiry(settings)
    runner = Runner(
        fleet=dependencies.fleet,
        capabilities=capabilities,
        input_uploader=InputUploader(dependencies.object_store, lambda: secrets.token_hex(16)),
        lora_delivery=LoraDelivery(dependencies.object_store, dependencies.fleet),
        output_storage=OutputStorage(dependencies.object_store, settings.store_patience_seconds),
        lifecycle=lifecycle,
        events=events,
        stall_seconds=settings.stall_seconds,
    )
    dispatcher = Dispatcher(
        live_catalog=dependencies.live_catalog,
        scheduler=Scheduler(max_attempts=settings.max_attempts),
        runner=runner,
        lifecycle=lifecycle,
        store=dependencies.store,
        accounts=accounts,
        clock=utc_now,
        max_job_seconds=settings.max_job_seconds,
    )
    return GenerationService(
        live_catalog=dependencies.live_catalog,
        request_preparer=RequestPreparer(
            live_catalog=dependencies.live_catalog,
            get_price_book=lambda: PriceBook(dependencies.tariffs, utc_now().date()),
            input_reader=build_input_reader(settings, dependencies.url_fetcher),
            webhook_urls=WebhookUrlChecker(allow_private=settings.allow_private_urls),
            lora_resolver=build_lora_resolver(dependencies, capabilities, expiry),
        ),
        accounts=accounts,
        store=dependencies.store,
        object_store=dependencies.object_store,
        deleter=ObjectDeleter(dependencies.store, dependencies.object_store, events, utc_now),
        dispatcher=dispatcher,
        lifecycle=lifecycle,
        events=events,
        moderation=dependencies.moderation,
        expiry=expiry,
        clock=utc_now,
        responses=ResponseTracker(
            dependencies.store, utc_now, timedelta(seconds=settings.undelivered_seconds)
        ),
        random_bits=random.SystemRandom().getrandbits,
        max_wait_seconds=settings.max_wait_seconds,
    )


def build_lora_resolver(
    dependencies: ServiceDependencies, capabilities: CapabilityCache, expiry: ExpiryPolicy
) -> LoraResolver:
    """Return what finds the LoRAs that requests name."""
    return LoraResolver(
        store=dependencies.store,
        shared=SharedLoras(dependencies.fleet, capabilities),
        expiry=expiry,
        live_catalog=dependencies.live_catalog,
    )


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
    return {INPUT_PREFIX: days, OUTPUT_PREFIX: days, LORA_PREFIX: lora_days}


def build_reconciler(settings: Settings, service: GenerationService) -> Reconciler:
    """Return the reconciler of a service."""
    return Reconciler(
        store=service.store,
        dispatcher=service.dispatcher,
        lifecycle=service.lifecycle,
        responses=service.responses,
        events=service.events,
        clock=service.clock,
        interval=settings.reconcile_seconds,
    )


def build_orphan_sweeper(settings: Settings, service: GenerationService) -> OrphanSweeper:
    """Return the sweeper of objects that nothing names."""
    policy = OrphanPolicy(
        grace=timedelta(seconds=settings.orphan_grace_seconds),
        interval=settings.orphan_sweep_seconds,
        clock=service.clock,
    )
    return OrphanSweeper(service.store, service.object_store, service.deleter, policy)


async def start_webhooks(
    settings: Settings, service: GenerationService, delivery: Delivery, stack: AsyncExitStack
) -> None:
    """Start to deliver webhooks; `stack` stops that."""
    webhooks = WebhookSender(
        service.store,
        utc_now,
        build_webhook_payloads(service, delivery).build_payload,
        allow_private=settings.allow_private_urls,
    )
    await webhooks.start()
    stack.push_async_callback(webhooks.stop)


def build_fleet(settings: Settings, live_catalog: LiveCatalog) -> Fleet:
    """Return the configured fleet: instances of a Ray cluster, adopted servers, simulators, or one ComfyUI
    per GPU. Raises FleetError, SettingsError."""
    if settings.ray_address is not None:
        return build_ray_fleet(settings, live_catalog)
    choice = choose_fleet_kind(
        urls=settings.instances,
        simulate=settings.simulate,
        installation=find_installation(settings.comfyui_dir),
        gpus=discover_gpus(cuda_visible_devices=os.environ.get("CUDA_VISIBLE_DEVICES")),
        cpu_instances=settings.cpu_instances,
    )
    if isinstance(choice, RunSimulators) and choice.notice:
        log.warning(choice.notice)
    if isinstance(choice, RunComfyUI):
        log.info("ComfyUI %s at %s", choice.installation.version, choice.installation.directory)
    return create_fleet(
        choice,
        directory=settings.data_dir / "instances",
        models_dir=settings.models_dir,
        time_scale=settings.simulator_time_scale,
        startup_seconds=settings.startup_seconds,
    )


async def ensure_s3_server(settings: Settings, stack: AsyncExitStack) -> S3Config:
    """Return access to the configured S3 server, or start an embedded one that `stack` stops."""
    if settings.s3_endpoint is None:
        server = EmbeddedS3(settings.data_dir / "s3")
        await server.start()
        stack.push_async_callback(server.stop)
        return server.bucket_config(settings.s3_bucket, settings.s3_public_endpoint)
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
    )
