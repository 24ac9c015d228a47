"""Builds and starts the service from its settings; the only module that chooses implementations."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from aiohttp import web

from comfy_instances.fleet.fleet_factory import RunComfyUI, RunSimulators, choose_fleet_kind, create_fleet
from comfy_instances.fleet.protocol import Fleet
from comfy_instances.fleet.ray.fleet import RayFleet
from comfy_instances.hardware.gpus import discover_gpus
from comfy_instances.process.installation import find_installation
from orchestrator.app.graph_routes import RouteGroup
from orchestrator.app.input_rules import open_moderation
from orchestrator.app.operations_keeper import build_operations_keeper
from orchestrator.app.operator_secrets import OperatorSecrets, load_operator_secrets
from orchestrator.app.pack_choice import find_untried_packs, needed_packs
from orchestrator.app.parts import (
    Execution,
    ServiceCore,
    ServiceDependencies,
    build_core,
    build_execution,
    build_service,
    load_offer,
    open_dependencies,
)
from orchestrator.app.ray_fleet import NewNodes, build_ray_fleet, serve_ray_fleet
from orchestrator.app.resources import Term, open_store, require_term, utc_now
from orchestrator.app.shared_models import fetch_published_models, follow_published_models
from orchestrator.app.task_failures import observe_task_failures
from orchestrator.app.web_app import (
    Delivery,
    build_delivery,
    build_execution_views,
    build_web_app,
    build_webhook_payloads,
)
from orchestrator.catalog.live_catalog import LiveCatalog
from orchestrator.catalog.publishing.shared_directory import SharedDirectory
from orchestrator.execution.dispatcher import Dispatcher
from orchestrator.execution.instances.capabilities import CapabilityCache
from orchestrator.execution.instances.graph_instances import FleetGraphs
from orchestrator.execution.instances.warming import ModelWarmer
from orchestrator.execution.job_lifecycle import Clock
from orchestrator.execution.live.waiting_callers import WaitingCallers
from orchestrator.execution.overdue_jobs import OverdueJobs
from orchestrator.execution.reconciler import Reconciler
from orchestrator.execution.results.expiry import ExpiredFileSweeper
from orchestrator.execution.results.media_origins import DerivedMediaMarker
from orchestrator.execution.results.orphan_sweeper import OrphanPolicy, OrphanSweeper
from orchestrator.execution.results.thumbnails import ThumbnailMaker, Thumbnails
from orchestrator.execution.stored_jobs import StoredJobs
from orchestrator.files.data_directory import make_data_private
from orchestrator.service import GenerationService
from orchestrator.settings import Settings
from orchestrator.store import Store
from orchestrator.web.metrics.operations import OperationsMetrics
from orchestrator.webhooks.sender import WebhookSender

log = logging.getLogger(__name__)

#: Last jobs by which models are loaded ahead of requests after a start.
WARM_HISTORY_JOBS = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class RunningService:
    """A started service without its listening socket."""

    app: web.Application
    service: GenerationService
    #: Runs the jobs; None in a process that leaves that to another one.
    dispatcher: Dispatcher | None
    drain_seconds: float

    async def drain(self) -> None:
        """Wait for running shards, then fail the requests that still wait for a job with 503."""
        if self.dispatcher is not None:
            await self.dispatcher.stop(self.drain_seconds)
        self.service.events.close()


@dataclass(frozen=True, kw_only=True, slots=True)
class SchedulerRole:
    """How a scheduler differs from a service that runs in one process."""

    #: Whether it delivers webhooks too.
    sends_webhooks: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Ground:
    """What a service needs to run jobs, and may have before it does: models, prices, store, S3, fleet."""

    dependencies: ServiceDependencies
    fleet: Fleet
    #: The copy of the published models; None if the directory has them.
    published: SharedDirectory | None


async def open_ground(
    settings: Settings, stack: AsyncExitStack, term: Term | None = None, *, leads: bool = True
) -> Ground:
    """Open it until `stack` ends. Without `leads`, no instance is started. Raises as `run_service`."""
    published = await asyncio.to_thread(fetch_published_models, settings)
    offer = load_offer(settings)
    moderation = await open_moderation(settings, stack)
    store = await stack.enter_async_context(open_store(settings, term))
    # A damaged secret ends the start before instances and servers run.
    load_operator_secrets(settings)
    fleet = build_fleet(settings, offer.live_catalog)
    stack.push_async_callback(fleet.stop)
    if leads:
        # Instances start while an embedded S3 server does.
        await fleet.start()
    elif isinstance(fleet, RayFleet):
        await fleet.prepare()
    dependencies = await open_dependencies(settings, stack, offer, store, moderation)
    return Ground(dependencies=dependencies, fleet=fleet, published=published)


async def take_lead(ground: Ground, term: Term | None) -> None:
    """Begin to lead with what a standby has opened. Raises FleetError."""
    if term is not None:
        require_term(ground.dependencies.store, term)
    await ground.fleet.start()
    await ground.dependencies.live_catalog.refresh_if_changed()


@asynccontextmanager
async def run_service(
    settings: Settings,
    term: Term | None = None,
    role: SchedulerRole | None = None,
    ground: Ground | None = None,
) -> AsyncIterator[RunningService]:
    """Start the service and stop everything when the context ends. Raises SettingsError, FleetError.

    With a role, it is the scheduler of API processes, which accept the jobs. `ground` is what it opened while
    it stood by; it stays open.
    """
    make_data_private(settings)
    async with AsyncExitStack() as stack:
        if ground is None:
            ground = await open_ground(settings, stack, term)
        else:
            await take_lead(ground, term)
        dependencies, fleet = ground.dependencies, ground.fleet
        store, live_catalog = dependencies.store, dependencies.live_catalog
        operator_secrets = load_operator_secrets(settings)
        callers = WaitingCallers() if role else None
        core = build_core(settings, dependencies, callers.may_await if callers else lambda _: False)
        execution = build_execution(settings, dependencies, fleet, core)
        dispatcher = execution.dispatcher
        service = build_service(settings, dependencies, core, dispatcher, execution.shared_loras)
        # The metrics subscribe to events before any job is scheduled.
        delivery = build_delivery(settings, service, operator_secrets)
        internal = (build_live_routes(execution, core, callers, operator_secrets),) if callers else ()
        views = build_execution_views(service, execution, operator_secrets, internal)
        app = build_web_app(settings, service, views, operator_secrets, delivery)
        stack.enter_context(observe_task_failures(service.events))
        if role is None or role.sends_webhooks:
            await start_webhooks(settings, service, delivery, stack, is_only_sender=role is None)
        await start_sweepers(settings, service, stack)
        nodes = NewNodes(settings.ray_node_types, live_catalog) if settings.ray_node_types else None
        serve_ray_fleet(fleet, dependencies.object_store, dispatcher.scheduler, stack, nodes)
        load_model = await follow_published_models(ground.published, store, live_catalog, stack)
        await dispatcher.start(callers_remain=role is not None)
        await start_warming(execution.warmer, store, service.clock, stack)
        if role is not None:
            _start_stored_jobs(StoredJobs(store=store, dispatcher=dispatcher, load_model=load_model), stack)
        start_guards(settings, service, dispatcher, stack, views.metrics.operations)
        live_catalog.subscribe(dispatcher.refresh_servable_models)
        live_catalog.start()
        for stop in (live_catalog.stop, service.responses.stop, partial(dispatcher.stop, 0.0)):
            stack.push_async_callback(stop)
        # The next leader goes on with prompts of instances that outlive this process.
        continues = role is not None and (settings.instances or settings.ray_address is not None)
        drain_seconds = 0.0 if continues else settings.drain_seconds
        yield RunningService(app=app, service=service, dispatcher=dispatcher, drain_seconds=drain_seconds)


def start_guards(
    settings: Settings,
    service: GenerationService,
    dispatcher: Dispatcher,
    stack: AsyncExitStack,
    metrics: OperationsMetrics,
) -> None:
    """Start what mends jobs, ends those that are overdue, and looks after the rest, until `stack` ends."""
    keeper = build_operations_keeper(settings, service, dispatcher, metrics)
    keeper.start()
    stack.push_async_callback(keeper.stop)
    reconciler = build_reconciler(settings, service, dispatcher)
    reconciler.start()
    stack.push_async_callback(reconciler.stop)
    overdue_jobs = OverdueJobs(jobs=dispatcher, lifecycle=service.lifecycle, clock=service.clock)
    overdue_jobs.start()
    stack.push_async_callback(overdue_jobs.stop)


async def start_warming(warmer: ModelWarmer, store: Store, clock: Clock, stack: AsyncExitStack) -> None:
    """Start to load models ahead of requests, by what the last jobs asked for; `stack` stops that."""
    page = await store.list_jobs(limit=WARM_HISTORY_JOBS)
    now = clock()
    jobs = [record.job for record in page.items]
    warmer.start([(job.model, (now - job.created_at).total_seconds()) for job in jobs])
    stack.push_async_callback(warmer.stop)


def build_live_routes(
    execution: Execution, core: ServiceCore, callers: WaitingCallers, operator_secrets: OperatorSecrets
) -> RouteGroup:
    """Return the routes by which API processes follow a scheduler."""
    # Imported only here: a service in one process does not need them.
    from orchestrator.web.internal.live_routes import LiveRoutes, LiveSources

    sources = LiveSources(
        events=core.events,
        scheduler=execution.dispatcher.scheduler,
        capacity=execution.dispatcher,
        fleet=execution.fleet,
        loras=execution.shared_loras,
        callers=callers,
        graphs=FleetGraphs(execution.fleet, CapabilityCache(execution.fleet, {})),
    )
    return LiveRoutes(sources, operator_secrets.internal_secret)


def build_reconciler(settings: Settings, service: GenerationService, dispatcher: Dispatcher) -> Reconciler:
    """Return the reconciler of a service."""
    return Reconciler(
        store=service.store,
        dispatcher=dispatcher,
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


async def start_sweepers(settings: Settings, service: GenerationService, stack: AsyncExitStack) -> None:
    """Start what deletes objects and makes thumbnails; `stack` stops that."""
    service.deleter.start()
    stack.push_async_callback(service.deleter.stop)
    if settings.thumbnails:
        marker = DerivedMediaMarker(marker=service.marker, get_model=service.get_model)
        thumbnails = Thumbnails(service.object_store, service.store, marker)
        await stack.enter_async_context(ThumbnailMaker(thumbnails, service.events))
    await stack.enter_async_context(ExpiredFileSweeper(service.store, service.deleter, service.expiry))
    orphan_sweeper = build_orphan_sweeper(settings, service)
    await orphan_sweeper.start()
    stack.push_async_callback(orphan_sweeper.stop)


async def start_webhooks(
    settings: Settings,
    service: GenerationService,
    delivery: Delivery,
    stack: AsyncExitStack,
    *,
    is_only_sender: bool,
) -> None:
    """Start to deliver webhooks; `stack` stops that."""
    payloads = build_webhook_payloads(service, delivery, load_operator_secrets(settings))
    webhooks = WebhookSender(
        service.store,
        utc_now,
        payloads.build_payload,
        build_headers=payloads.build_headers,
        allow_private=settings.allow_private_urls,
        is_only_sender=is_only_sender,
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
        if warning := find_untried_packs(choice.installation):
            log.warning(warning)
    return create_fleet(
        choice,
        directory=settings.data_dir / "instances",
        models_dir=settings.models_dir,
        time_scale=settings.simulator_time_scale,
        startup_seconds=settings.startup_seconds,
        choose_packs=needed_packs(lambda: live_catalog.all_versions),
    )


def _start_stored_jobs(stored_jobs: StoredJobs, stack: AsyncExitStack) -> None:
    """Run jobs that API processes have stored, until the stack ends."""
    stored_jobs.start()
    stack.push_async_callback(stored_jobs.stop)
