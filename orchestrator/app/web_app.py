"""Wire the HTTP application: hand each part of the API the services that it needs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Protocol

from aiohttp import web

from comfy_instances.fleet.protocol import Fleet
from orchestrator.app.resources import OperatorSecrets
from orchestrator.billing.price_files import load_costs
from orchestrator.execution.output_links import OutputLinks
from orchestrator.execution.result_links import ResultLinks
from orchestrator.service import GenerationService
from orchestrator.settings import Settings
from orchestrator.storage.object_store import ObjectStore
from orchestrator.store import ApiKeyScope, Store
from orchestrator.web.account.alerts import AlertRoutes
from orchestrator.web.account.billing import BillingRoutes
from orchestrator.web.account.loras import LoraRoutes
from orchestrator.web.account.payments import PaymentRoutes
from orchestrator.web.account.webhook_messages import WebhookMessageRoutes
from orchestrator.web.admin.accounts import AccountAdminRoutes
from orchestrator.web.admin.instances import InstanceAdminRoutes
from orchestrator.web.admin.models import ModelAdminRoutes
from orchestrator.web.admin.quarantine import QuarantineAdminRoutes
from orchestrator.web.admin.wallets import WalletAdminRoutes
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
from orchestrator.web.dialects.pixelapi import translation as pixelapi
from orchestrator.web.dialects.pixelapi.routes import PixelApiRoutes
from orchestrator.web.dialects.pixeldojo import translation as pixeldojo
from orchestrator.web.dialects.pixeldojo.routes import PixelDojoRoutes
from orchestrator.web.health import HealthRoutes
from orchestrator.web.http.response_model import to_json_dict
from orchestrator.web.jobs.job_updates import JobUpdates
from orchestrator.web.jobs.output_urls import OutputDelivery
from orchestrator.web.jobs.result_files import ResultFileRoutes
from orchestrator.web.jobs.routes import JobApiRoutes
from orchestrator.web.jobs.schemas import JobResponseBuilder
from orchestrator.web.metrics import Metrics
from orchestrator.web.openapi.docs_pages import DocsRoutes
from orchestrator.web.rate_limits import RateLimiter
from orchestrator.web.webhook_payloads import WebhookPayloads
from orchestrator.webhooks.sender import SigningSecrets

#: Lifetime of URLs in jobs and webhooks: the dialects' documents promise a day to clients that poll.
JOB_URL_LIFETIME_SECONDS = 24 * 3600


class RouteGroup(Protocol):
    """A part of the API."""

    def routes(self) -> list[web.RouteDef]: ...


def build_job_responses(service: GenerationService) -> JobResponseBuilder:
    """Return the builder of jobs in the format of the jobs API, for responses and webhooks."""
    delivery = _build_delivery(service, JOB_URL_LIFETIME_SECONDS)
    return JobResponseBuilder(delivery, lambda: service.price_book.micros_per_unit(pixeldojo.TARIFF))


def _build_delivery(service: GenerationService, url_lifetime_seconds: int) -> OutputDelivery:
    return OutputDelivery(service.object_store, service.store, url_lifetime_seconds, service.expiry)


def build_webhook_payloads(service: GenerationService) -> WebhookPayloads:
    """Return the builder of webhook payloads: Pixazo's jobs in its own format, all others in the default."""
    responses = build_job_responses(service)
    return WebhookPayloads(
        jobs=service.store,
        default=lambda record: to_json_dict(responses.build(record)),
        by_dialect={PIXAZO: PixazoJobViews(responses.delivery).webhook_payload},
    )


def build_output_links(
    secrets: OperatorSecrets, store: Store, objects: ObjectStore, clock: Callable[[], datetime]
) -> OutputLinks:
    """Return the links that PixelAPI's responses name, valid for as long as its document promises."""
    return OutputLinks(
        secret=secrets.session_secret,
        lifetime=pixelapi.OUTPUT_LIFETIME,
        find_job=store.find_job,
        objects=objects,
        clock=clock,
    )


def build_web_app(
    settings: Settings, service: GenerationService, secrets: OperatorSecrets
) -> web.Application:
    """Return the HTTP application of a service."""
    dispatcher, events, clock = service.dispatcher, service.events, service.clock
    metrics = Metrics(dispatcher.fleet, dispatcher.scheduler, dispatcher, events, clock)
    parts = (
        *_build_generation_routes(settings, service, secrets),
        _build_pixelapi_routes(settings, service, secrets),
        *_build_account_routes(settings, service),
        *_build_operator_routes(settings, service, secrets, metrics),
        DocsRoutes(service, settings.public_url),
    )
    auth_context = AuthContext(
        keys=service.store,
        accounts=service.accounts,
        rate_limiter=RateLimiter(
            settings.limits_url,
            failures_per_minute=settings.failures_per_minute,
            trusted_proxies=settings.trusted_proxies,
        ),
    )
    routes = [route for part in parts for route in part.routes()]
    return make_app(
        routes,
        auth_context,
        max_body_bytes=settings.max_body_bytes,
        metrics=metrics,
        cors=CorsPolicy.of(settings.cors_origins),
        simulates=partial(_simulates, dispatcher.fleet),
    )


def _simulates(fleet: Fleet) -> bool:
    """Return whether all instances are simulators, and there are any."""
    instances = fleet.instances()
    return bool(instances) and all(instance.simulated for instance in instances)


def build_result_links(
    settings: Settings, secrets: OperatorSecrets, objects: ObjectStore, clock: Callable[[], datetime]
) -> ResultLinks:
    """Return the links that responses of OpenAI's images API name."""
    return ResultLinks(
        secret=secrets.session_secret,
        lifetime_seconds=settings.url_lifetime_seconds,
        objects=objects,
        clock=clock,
    )


def _build_generation_routes(
    settings: Settings, service: GenerationService, secrets: OperatorSecrets
) -> tuple[RouteGroup, ...]:
    """Return the routes of all dialects and of the jobs API."""
    objects, events, clock = service.object_store, service.events, service.clock
    responses = build_job_responses(service)
    delivery = _build_delivery(service, settings.url_lifetime_seconds)
    links = build_result_links(settings, secrets, objects, clock)
    return (
        ImageRoutes(service, delivery, links, events=events, clock=clock, public_url=settings.public_url),
        ResultFileRoutes(links, objects),
        PixelFactoryRoutes(service),
        ModelRoutes(service),
        VideoRoutes(service, objects, events, settings.output_lifetime_days),
        PixelDojoRoutes(service, service.accounts, settings.public_url),
        PixazoRoutes(service, responses.delivery, settings.public_url, settings.batch_wait_seconds),
        JobApiRoutes(service, _build_job_updates(service), service.store, responses),
        LoraRoutes(
            service,
            service.request_preparer.lora_resolver,
            lambda key: objects.presign(key, JOB_URL_LIFETIME_SECONDS),
        ),
    )


def _build_pixelapi_routes(
    settings: Settings, service: GenerationService, secrets: OperatorSecrets
) -> PixelApiRoutes:
    delivery = _build_delivery(service, JOB_URL_LIFETIME_SECONDS)
    links = build_output_links(secrets, service.store, service.object_store, service.clock)
    return PixelApiRoutes(service, delivery, links, service.accounts, settings.public_url)


def _build_job_updates(service: GenerationService) -> JobUpdates:
    return JobUpdates(
        jobs=service,
        events=service.events,
        wait_estimates=service.dispatcher.scheduler,
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
    settings: Settings, service: GenerationService, secrets: OperatorSecrets, metrics: Metrics
) -> tuple[RouteGroup, ...]:
    """Return the admin API, the dashboard, health and metrics."""
    store, accounts, clock, dispatcher = service.store, service.accounts, service.clock, service.dispatcher
    token = secrets.admin_token
    instances = InstanceAdminRoutes(
        dispatcher.fleet, dispatcher.scheduler.queue, metrics.instance_rows, clock, token
    )
    quarantine = QuarantineAdminRoutes(store, token)
    dashboard = DashboardRoutes(
        api=service,
        store=store,
        accounts=accounts,
        clock=clock,
        objects=service.object_store,
        fleet=dispatcher.fleet,
        delivery=_build_delivery(service, settings.url_lifetime_seconds),
        updates=_build_job_updates(service),
        admin=(instances, quarantine),
        sessions=_build_session_manager(settings, service, secrets),
        webhook_urls=service.request_preparer.webhook_urls,
    )
    metrics_token = None if settings.public_metrics else token
    return (
        AccountAdminRoutes(store, accounts, service.live_catalog, token),
        ModelAdminRoutes(service.live_catalog, dispatcher.scheduler.instances, token),
        WalletAdminRoutes(store, accounts, load_costs(settings), token),
        instances,
        quarantine,
        dashboard,
        HealthRoutes(
            dispatcher.fleet,
            dispatcher.scheduler,
            (service.object_store, service.store),
            metrics,
            metrics_token,
        ),
    )


def _build_session_manager(
    settings: Settings, service: GenerationService, secrets: OperatorSecrets
) -> SessionManager:
    secure = (settings.public_url or "").startswith("https://")
    return SessionManager(
        secrets.session_secret, secrets.admin_token, service.store, service.clock, secure=secure
    )
