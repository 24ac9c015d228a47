"""Wire the HTTP application: hand each part of the API the services that it needs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Protocol

from aiohttp import web
from limits.aio.storage import Storage

from orchestrator.app.graph_routes import InstanceFacts, RouteGroup, build_graph_routes
from orchestrator.app.hosted_dialects import (
    build_hosted_dialects,
    final_payloads,
    progress_payloads,
    webhook_headers,
)
from orchestrator.app.operations import RunningParts, build_job_routes, build_operations_routes
from orchestrator.app.operator_secrets import OperatorSecrets
from orchestrator.app.publishing import build_publishing_routes
from orchestrator.billing.price_files import load_costs
from orchestrator.execution.instances.capabilities import CapabilityCache
from orchestrator.execution.instances.graph_instances import FleetGraphs
from orchestrator.execution.results.media_origins import DerivedMediaMarker
from orchestrator.execution.results.result_links import ResultLinks
from orchestrator.service import GenerationService
from orchestrator.settings import Settings
from orchestrator.storage.object_store import ObjectStore
from orchestrator.store import ApiKeyScope
from orchestrator.web.account.alerts import AlertRoutes
from orchestrator.web.account.billing import BillingRoutes
from orchestrator.web.account.loras import LoraRoutes
from orchestrator.web.account.payments import PaymentRoutes
from orchestrator.web.account.webhook_messages import WebhookMessageRoutes
from orchestrator.web.admin.accounts import AccountAdminRoutes
from orchestrator.web.admin.licenses import LicenseAdminRoutes
from orchestrator.web.admin.models import ModelAdminRoutes
from orchestrator.web.admin.quarantine import QuarantineAdminRoutes
from orchestrator.web.admin.wallets import WalletAdminRoutes
from orchestrator.web.admin.warming import WarmingRoutes
from orchestrator.web.app import make_app
from orchestrator.web.auth import AuthContext, api_key_authenticator
from orchestrator.web.cors import CorsPolicy
from orchestrator.web.dashboard import DashboardRoutes, SessionManager
from orchestrator.web.dialects.model_routes import ModelRoutes
from orchestrator.web.dialects.openai.image_routes import ImageRoutes
from orchestrator.web.dialects.openai.video_routes import VideoRoutes
from orchestrator.web.dialects.pixazo.request_ids import DIALECT_NAME as PIXAZO
from orchestrator.web.dialects.pixazo.routes import PixazoJobViews, PixazoRoutes
from orchestrator.web.dialects.pixel_factory.routes import PixelFactoryRoutes
from orchestrator.web.dialects.pixelapi.routes import PixelApiRoutes
from orchestrator.web.dialects.pixeldojo import translation as pixeldojo
from orchestrator.web.dialects.pixeldojo.routes import PixelDojoRoutes
from orchestrator.web.health import ExpectedInstances, HealthRoutes
from orchestrator.web.http.response_model import to_json_dict
from orchestrator.web.instance_status import FleetInstances
from orchestrator.web.jobs.job_updates import JobUpdates, WaitEstimates
from orchestrator.web.jobs.output_urls import OutputDelivery
from orchestrator.web.jobs.result_files import ResultFileRoutes
from orchestrator.web.jobs.result_sender import ResultSender
from orchestrator.web.jobs.routes import JobApiRoutes
from orchestrator.web.jobs.schemas import JobResponseBuilder
from orchestrator.web.metrics import Metrics
from orchestrator.web.openapi.docs_pages import DocsRoutes
from orchestrator.web.operator_log import OperatorLog, RecordedRoutes
from orchestrator.web.rate_limits import RateLimiter
from orchestrator.web.stream_keys import StreamKeys
from orchestrator.web.webhook_payloads import WebhookPayloads
from orchestrator.webhooks.sender import SigningSecrets

log = logging.getLogger(__name__)

#: Warning at the start of a service that does not know its address; webhooks are sent without a request.
NO_PUBLIC_URL = (
    "PIXELFACTORY_PUBLIC_URL is not set, so webhooks name results by presigned URLs of the S3 server, which"
    " answer GET only and which receivers must reach; set it to the URL at which callers reach the service"
)
#: Lifetime of URLs in jobs and webhooks: the dialects' documents promise a day to clients that poll.
JOB_URL_LIFETIME_SECONDS = 24 * 3600


@dataclass(frozen=True, slots=True)
class Delivery:
    """How results reach callers."""

    links: ResultLinks
    sender: ResultSender
    #: With URLs for responses that wait for their results, and for the dashboard.
    short: OutputDelivery
    #: With URLs for jobs and webhooks.
    jobs: OutputDelivery


def build_delivery(settings: Settings, service: GenerationService, secrets: OperatorSecrets) -> Delivery:
    """Return how results reach callers."""
    links = build_result_links(secrets, service.object_store, service.clock)
    warn_of_unknown_address(settings)

    def build(url_lifetime_seconds: int) -> OutputDelivery:
        return OutputDelivery(
            service.object_store,
            service.store,
            links,
            service.expiry,
            DerivedMediaMarker(marker=service.marker, get_model=service.get_model),
            url_lifetime_seconds=url_lifetime_seconds,
            public_url=settings.public_url,
            own_url=_local_url(settings),
        )

    return Delivery(
        links,
        ResultSender(service.object_store, service.record_bytes_sent),
        short=build(settings.url_lifetime_seconds),
        jobs=build(JOB_URL_LIFETIME_SECONDS),
    )


def warn_of_unknown_address(settings: Settings) -> None:
    """Warn if the links of webhooks are not those of responses: nothing says at which address callers are."""
    if settings.public_url is None and settings.s3_endpoint is not None:
        log.warning(NO_PUBLIC_URL)


def _local_url(settings: Settings) -> str | None:
    """Return the address at which the service listens, of an installation that serves one machine.

    With an S3 server of their own, operators have callers elsewhere, who do not reach this address.
    """
    if settings.s3_endpoint is not None or settings.port == 0:
        return None
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def build_result_links(
    secrets: OperatorSecrets, objects: ObjectStore, clock: Callable[[], datetime]
) -> ResultLinks:
    """Return the links to results that responses of all dialects name."""
    return ResultLinks(secret=secrets.session_secret, objects=objects, clock=clock)


def build_job_responses(service: GenerationService, delivery: OutputDelivery) -> JobResponseBuilder:
    """Return the builder of jobs in the format of the jobs API, for responses and webhooks."""
    return JobResponseBuilder(delivery, lambda: service.price_book.micros_per_unit(pixeldojo.TARIFF))


def build_webhook_payloads(
    service: GenerationService, delivery: Delivery, secrets: OperatorSecrets
) -> WebhookPayloads:
    """Return the builder of webhook payloads: some dialects have a format of their own."""
    responses = build_job_responses(service, delivery.jobs)
    return WebhookPayloads(
        jobs=service.store,
        default=lambda record: to_json_dict(responses.build(record, None)),
        by_dialect={
            PIXAZO: PixazoJobViews(responses.delivery).webhook_payload,
            **final_payloads(service, delivery.jobs, secrets),
        },
        in_progress=progress_payloads(service, delivery.jobs, secrets),
        headers=webhook_headers(secrets),
    )


class SchedulerView(WaitEstimates, ExpectedInstances, Protocol):
    """What the application asks of the scheduler, of this process or of another one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExecutionViews:
    """What the application shows of instances and queue."""

    fleet: FleetInstances
    scheduler: SchedulerView
    metrics: Metrics
    #: Instances and queue, models, and loads ahead, for operators. The first is on the operations page too.
    admin: tuple[RouteGroup, RouteGroup, RouteGroup]
    #: What the instances say of callers' own graphs.
    graphs: InstanceFacts
    #: Routes for other processes of the installation.
    internal: tuple[RouteGroup, ...] = ()


def build_execution_views(
    service: GenerationService,
    execution: RunningParts,
    secrets: OperatorSecrets,
    internal: tuple[RouteGroup, ...] = (),
) -> ExecutionViews:
    """Return the views of a process that runs the jobs itself."""
    dispatcher, clock = execution.dispatcher, service.clock
    fleet, scheduler = dispatcher.fleet, dispatcher.scheduler
    metrics = Metrics(fleet, scheduler, dispatcher, service.events, clock)
    if (signer := service.marker.signer) is not None and signer.expires_at is not None:
        metrics.show_certificate(signer.expires_at)
    token, recorded = secrets.admin_token, OperatorLog(service.store, clock)
    operations = build_operations_routes(service, execution, metrics, token)
    return ExecutionViews(
        fleet=fleet,
        scheduler=scheduler,
        metrics=metrics,
        admin=(
            RecordedRoutes(operations, recorded),
            ModelAdminRoutes(service.live_catalog, scheduler.instances, token),
            RecordedRoutes([WarmingRoutes(execution.warmer, token)], recorded),
        ),
        internal=internal,
        graphs=FleetGraphs(fleet, CapabilityCache(fleet, {})),
    )


def build_web_app(
    settings: Settings,
    service: GenerationService,
    execution: ExecutionViews,
    secrets: OperatorSecrets,
    delivery: Delivery,
    *,
    request_counts: Storage | None = None,
) -> web.Application:
    """Return the HTTP application of a service.

    `request_counts` replaces the storage of rate limits that the settings name.
    """
    parts = (
        *_build_generation_routes(settings, service, execution, delivery, secrets),
        *_build_account_routes(settings, service),
        *_build_operator_routes(settings, service, execution, secrets, delivery),
        DocsRoutes(service, settings.public_url),
        *execution.internal,
    )
    auth_context = AuthContext(
        keys=service.store,
        stream_keys=StreamKeys(service.store),
        accounts=service.accounts,
        rate_limiter=RateLimiter(
            request_counts or settings.limits_url,
            failures_per_minute=settings.failures_per_minute,
            trusted_proxies=settings.trusted_proxies,
            now=lambda: service.clock().timestamp(),
        ),
    )
    routes = [route for part in parts for route in part.routes()]
    watched = execution.metrics.operations
    watched.data_dir, watched.read_storage_errors = (
        settings.data_dir,
        lambda: service.object_store.errors.counts,
    )
    watched.database = settings.database_path if settings.postgres_url is None else None
    return make_app(
        routes,
        auth_context,
        max_body_bytes=settings.max_body_bytes,
        metrics=execution.metrics,
        cors=CorsPolicy.of(settings.cors_origins),
        simulates=partial(_simulates, execution.fleet),
    )


def _simulates(fleet: FleetInstances) -> bool:
    """Return whether all instances are simulators, and there are any."""
    instances = fleet.instances()
    return bool(instances) and all(instance.simulated for instance in instances)


def _build_generation_routes(
    settings: Settings,
    service: GenerationService,
    execution: ExecutionViews,
    delivery: Delivery,
    secrets: OperatorSecrets,
) -> tuple[RouteGroup, ...]:
    """Return the routes of all dialects and of the jobs API."""
    objects, events, clock = service.object_store, service.events, service.clock
    responses = build_job_responses(service, delivery.jobs)
    updates = _build_job_updates(service, execution)
    return (
        ImageRoutes(service, delivery.short, events=events, clock=clock),
        ResultFileRoutes(
            delivery.links,
            delivery.sender,
            service.store.find_job,
            redirects=settings.result_links == "redirect",
        ),
        PixelFactoryRoutes(service),
        ModelRoutes(service, settings.public_url),
        VideoRoutes(service, objects, events, delivery.jobs.marker, settings.output_lifetime_days),
        PixelDojoRoutes(service, service.accounts, settings.public_url),
        PixazoRoutes(service, delivery.jobs, settings.public_url, settings.batch_wait_seconds),
        PixelApiRoutes(service, delivery.jobs, service.accounts, clock),
        *build_hosted_dialects(settings, service, secrets, delivery.jobs, updates),
        JobApiRoutes(service, updates, service.store, responses),
        LoraRoutes(service, service.request_preparer.lora_resolver, delivery.jobs),
        *build_graph_routes(
            settings, service, updates, delivery, instances=execution.graphs, fleet=execution.fleet
        ),
    )


def _build_job_updates(service: GenerationService, execution: ExecutionViews) -> JobUpdates:
    return JobUpdates(
        jobs=service,
        events=service.events,
        wait_estimates=execution.scheduler,
        clock=service.clock,
    )


def _build_account_routes(settings: Settings, service: GenerationService) -> tuple[RouteGroup, ...]:
    """Return the routes of the caller's account."""
    store, clock = service.store, service.clock
    authenticate = api_key_authenticator(ApiKeyScope.BILLING)
    return (
        BillingRoutes(store, service.accounts, clock, authenticate),
        AlertRoutes(store, clock, authenticate, service.request_preparer.webhook_urls),
        WebhookMessageRoutes(store, SigningSecrets(store, clock), clock, authenticate),
        PaymentRoutes(store, clock, settings.payment_secret),
    )


def _build_operator_routes(
    settings: Settings,
    service: GenerationService,
    execution: ExecutionViews,
    secrets: OperatorSecrets,
    delivery: Delivery,
) -> tuple[RouteGroup, ...]:
    """Return the admin API, the dashboard, health and metrics."""
    store, accounts, clock = service.store, service.accounts, service.clock
    token = secrets.admin_token
    instances, models, warming = execution.admin
    licenses = LicenseAdminRoutes(service.live_catalog, service.licenses, token)
    log_of_changes = OperatorLog(store, clock)
    wallets = WalletAdminRoutes(store, accounts, load_costs(settings), token)
    jobs, quarantine = build_job_routes(settings, service, token), QuarantineAdminRoutes(store, token)
    shown = RecordedRoutes((jobs, quarantine, wallets), log_of_changes)
    publishing = build_publishing_routes(
        settings, service, secrets, build_job_responses(service, delivery.jobs)
    )
    key_routes = AccountAdminRoutes(store, accounts, service.live_catalog, token)
    dashboard = DashboardRoutes(
        api=service,
        store=store,
        accounts=accounts,
        clock=clock,
        objects=service.object_store,
        fleet=execution.fleet,
        delivery=delivery.short,
        sender=delivery.sender,
        updates=_build_job_updates(service, execution),
        admin=(instances, shown, licenses),
        log_of_changes=log_of_changes,
        sessions=_build_session_manager(settings, service, secrets),
        webhook_urls=service.request_preparer.webhook_urls,
        loras=service.request_preparer.lora_resolver,
    )
    return (
        RecordedRoutes((key_routes, publishing), log_of_changes),
        models,
        warming,
        instances,
        shown,
        licenses,
        dashboard,
        _build_health(service, execution, None if settings.public_metrics else token),
    )


def _build_health(
    service: GenerationService, execution: ExecutionViews, metrics_token: str | None
) -> HealthRoutes:
    stores = (service.object_store, service.store)
    return HealthRoutes(execution.fleet, execution.scheduler, stores, execution.metrics, metrics_token)


def _build_session_manager(
    settings: Settings, service: GenerationService, secrets: OperatorSecrets
) -> SessionManager:
    secure = (settings.public_url or "").startswith("https://")
    return SessionManager(
        secrets.session_secret, secrets.admin_token, service.store, service.clock, secure=secure
    )
