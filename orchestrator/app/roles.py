"""The processes of an installation on several machines: API, scheduler and webhooks, on PostgreSQL and S3."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from comfy_instances.fleet.adopted import AdoptedFleet
from orchestrator.app.build import RunningService, start_webhooks
from orchestrator.app.input_rules import open_moderation
from orchestrator.app.operator_secrets import OperatorSecrets, load_operator_secrets
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
from orchestrator.app.resources import find_scheduler_url, open_store, shared_request_counts
from orchestrator.app.shared_models import fetch_published_models, follow_published_models
from orchestrator.app.task_failures import observe_task_failures
from orchestrator.app.web_app import ExecutionViews, build_delivery, build_execution_views, build_web_app
from orchestrator.execution.live.link import SchedulerLink
from orchestrator.execution.live.remote_graphs import RemoteGraphs
from orchestrator.execution.live.stored_events import StoredJobEvents
from orchestrator.service import GenerationService
from orchestrator.settings import Settings, SettingsError
from orchestrator.web.admin.author_auth import authenticate_author
from orchestrator.web.internal.forwarding import ForwardedRoutes


def require_shared_state(settings: Settings, role: str) -> None:
    """Check that several processes can use the same state. Raises SettingsError."""
    if settings.postgres_url is None:
        raise SettingsError(
            f"`pixelfactory {role}` shares its state with other processes:"
            " set PIXELFACTORY_DATABASE_URL to a postgresql:// URL, or use `pixelfactory up`"
        )
    if settings.s3_endpoint is None:
        raise SettingsError(
            f"`pixelfactory {role}` shares its files with other processes:"
            " set PIXELFACTORY_S3_ENDPOINT to an S3 server, or use `pixelfactory up`"
        )


@asynccontextmanager
async def run_api(settings: Settings) -> AsyncIterator[RunningService]:
    """Run what accepts, prices and holds, answers and streams, while a scheduler elsewhere runs the jobs.

    Raises SettingsError.
    """
    async with AsyncExitStack() as stack:
        dependencies, core, operator_secrets = await _open(settings, stack)
        store, events = dependencies.store, core.events
        stored_events = StoredJobEvents(store=store, events=events)
        link = await stack.enter_async_context(
            SchedulerLink(
                find_url=lambda: find_scheduler_url(store),
                secret=operator_secrets.internal_secret,
                events=events,
                stored_events=stored_events,
                responses=core.responses,
            )
        )
        service = build_service(settings, dependencies, core, link, link.mirror)
        delivery = build_delivery(settings, service, operator_secrets)
        idle = _build_idle_execution(settings, dependencies, core)
        views = _build_mirrored_views(service, link, idle, operator_secrets)
        counts = shared_request_counts(settings, store)
        app = build_web_app(settings, service, views, operator_secrets, delivery, request_counts=counts)
        stack.enter_context(observe_task_failures(events))
        stored_events.start()
        stack.push_async_callback(stored_events.stop)
        dependencies.live_catalog.start()
        stack.push_async_callback(dependencies.live_catalog.stop)
        stack.push_async_callback(service.responses.stop)
        yield RunningService(app=app, service=service, dispatcher=None, drain_seconds=settings.drain_seconds)


@asynccontextmanager
async def run_webhooks(settings: Settings) -> AsyncIterator[None]:
    """Deliver webhooks, beside other processes that do. Raises SettingsError."""
    async with AsyncExitStack() as stack:
        dependencies, core, operator_secrets = await _open(settings, stack)
        idle = _build_idle_execution(settings, dependencies, core)
        service = build_service(settings, dependencies, core, idle.dispatcher, idle.shared_loras)
        delivery = build_delivery(settings, service, operator_secrets)
        stack.enter_context(observe_task_failures(core.events))
        dependencies.live_catalog.start()
        stack.push_async_callback(dependencies.live_catalog.stop)
        await start_webhooks(settings, service, delivery, stack, is_only_sender=False)
        yield


async def _open(
    settings: Settings, stack: AsyncExitStack
) -> tuple[ServiceDependencies, ServiceCore, OperatorSecrets]:
    shared = await asyncio.to_thread(fetch_published_models, settings)
    offer = load_offer(settings)
    moderation = await open_moderation(settings, stack)
    store = await stack.enter_async_context(open_store(settings))
    dependencies = await open_dependencies(settings, stack, offer, store, moderation)
    await follow_published_models(shared, store, offer.live_catalog, stack)
    return dependencies, build_core(settings, dependencies), load_operator_secrets(settings)


def _build_idle_execution(
    settings: Settings, dependencies: ServiceDependencies, core: ServiceCore
) -> Execution:
    """Return an execution without instances, of which nothing is started."""
    return build_execution(settings, dependencies, AdoptedFleet([]), core)


def _build_mirrored_views(
    service: GenerationService,
    link: SchedulerLink,
    idle: Execution,
    secrets: OperatorSecrets,
) -> ExecutionViews:
    """Return the views of a process that knows instances and queue from the scheduler."""
    views = build_execution_views(service, idle, secrets)
    token = secrets.admin_token
    instances, warming = (ForwardedRoutes([views.admin[index]], link, token) for index in (0, 2))
    models = ForwardedRoutes(
        [views.admin[1]], link, token, lambda request: authenticate_author(request, token)
    )
    return replace(
        views,
        fleet=link.mirror,
        scheduler=link.mirror,
        admin=(instances, models, warming),
        graphs=RemoteGraphs(link),
    )
