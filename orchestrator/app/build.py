"""From settings to a running service: the only place that chooses implementations."""

from __future__ import annotations

import logging
import os
import random
import secrets
from collections.abc import AsyncIterator
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
from orchestrator.app.input_rules import fetch_rules, open_moderation, output_check, reader
from orchestrator.app.resources import admin_token, kept_secret, now, opened_store
from orchestrator.billing.accounts import Accounts
from orchestrator.billing.price_book import PriceLists
from orchestrator.billing.price_files import check_priced, load_book, load_costs, load_plans
from orchestrator.catalog.live_catalog import LiveCatalog
from orchestrator.execution.capabilities import Kits
from orchestrator.execution.dispatcher import Dispatcher
from orchestrator.execution.expiry import CleanUp, Expiry
from orchestrator.execution.job_lifecycle import Settlement
from orchestrator.execution.outputs import Outputs
from orchestrator.execution.runner import Runner
from orchestrator.execution.scheduler import Scheduler
from orchestrator.execution.uploads import Uploads
from orchestrator.intake.request_preparer import Desk
from orchestrator.jobs.events import EventHub
from orchestrator.moderation import Moderation
from orchestrator.net.downloads import UrlFetcher
from orchestrator.service import Service
from orchestrator.settings import Settings, SettingsError
from orchestrator.storage.embedded_server import EmbeddedS3
from orchestrator.storage.object_store import ObjectStore, S3Config
from orchestrator.store import ApiKeyScope, Store
from orchestrator.web.account.alerts import AlertRoutes
from orchestrator.web.account.billing import BillingRoutes
from orchestrator.web.account.payments import PaymentRoutes
from orchestrator.web.account.webhook_messages import WebhookMessageRoutes
from orchestrator.web.admin.accounts import AccountAdminRoutes
from orchestrator.web.admin.instances import InstanceAdminRoutes
from orchestrator.web.admin.models import ModelAdminRoutes
from orchestrator.web.admin.wallets import WalletAdminRoutes
from orchestrator.web.app import make_app
from orchestrator.web.auth import AuthContext, api_key_authenticator
from orchestrator.web.dashboard import DashboardRoutes, SessionManager
from orchestrator.web.dialects.openai.image_routes import ImageRoutes
from orchestrator.web.dialects.openai.model_routes import ModelRoutes
from orchestrator.web.dialects.openai.video_routes import VideoRoutes
from orchestrator.web.dialects.pixazo import translation as pixazo
from orchestrator.web.dialects.pixazo.routes import PixazoJobViews, PixazoRoutes
from orchestrator.web.dialects.pixelapi.routes import PixelApiRoutes
from orchestrator.web.dialects.pixeldojo.routes import PixelDojoRoutes
from orchestrator.web.health import HealthRoutes
from orchestrator.web.jobs.output_urls import OutputDelivery
from orchestrator.web.jobs.routes import JobRoutes
from orchestrator.web.limits import RateLimiter
from orchestrator.web.metrics import Metrics
from orchestrator.web.openapi.docs_pages import DocsRoutes
from orchestrator.web.webhook_payloads import WebhookPayloads
from orchestrator.webhooks.sender import WebhookSender
from pricing.book import TariffRevisions
from pricing.plans import Plans

log = logging.getLogger(__name__)

#: Life of the URLs in jobs and webhooks: the documents promise those who poll a day.
JOB_URL_SECONDS = 24 * 3600


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """A started service, without its listening socket."""

    app: web.Application
    service: Service
    drain_seconds: float

    async def drain(self) -> None:
        """Lets running shards end, then tells those who still wait that they wait in vain."""
        await self.service.dispatcher.stop(self.drain_seconds)
        self.service.events.close()


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Running]:
    """The whole service; everything it starts ends with the context."""
    prices, plans = load_book(settings), load_plans(settings)
    live = LiveCatalog(
        settings.workflows_dir,
        lambda model: check_priced(model, prices, now().date()),
        stand_ins=settings.stand_ins,
    )
    async with AsyncExitStack() as stack:
        moderation = await open_moderation(settings, stack)
        store = await stack.enter_async_context(opened_store(settings))
        fleet = choose_fleet(settings)
        stack.push_async_callback(fleet.stop)
        await fleet.start()
        objects = await stack.enter_async_context(ObjectStore(await s3_access(settings, stack)))
        # The net below `expiry`: the bucket's own rules count from when a file was written, in whole days.
        days = ceil(settings.output_lifetime_days) + 1
        await objects.ensure_bucket({"inputs/": days, "outputs/": days}, timeout=settings.startup_seconds)
        downloads = await stack.enter_async_context(UrlFetcher(fetch_rules(settings, objects)))
        parts = Parts(live, prices, plans, store, fleet, objects, downloads, moderation)
        service = wire(settings, parts)
        # The metrics listen before anything begins.
        app = web_app(settings, service)
        webhooks = WebhookSender(
            store, now, telling(service).build_payload, allow_private=settings.allow_private_urls
        )
        await webhooks.start()
        stack.push_async_callback(webhooks.stop)
        await stack.enter_async_context(CleanUp(store, objects, service.expiry))
        await service.dispatcher.start()
        live.subscribe(service.dispatcher.models_changed)
        live.start()
        stack.push_async_callback(live.stop)
        stack.push_async_callback(service.dispatcher.stop, 0.0)
        yield Running(app=app, service=service, drain_seconds=settings.drain_seconds)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a service is made of, each chosen already."""

    live: LiveCatalog
    prices: TariffRevisions
    plans: Plans
    store: Store
    fleet: Fleet
    objects: ObjectStore
    downloads: UrlFetcher
    moderation: Moderation


def wire(settings: Settings, parts: Parts) -> Service:
    """The rooms between the HTTP edge and the parts, knowing of each other. Starts nothing."""
    events = EventHub()
    settlement = Settlement(parts.store, events, now)
    accounts = Accounts(parts.store, parts.plans, now)
    preferred = {profile.name: profile.weights for profile in load_gpu_profiles()}
    runner = Runner(
        fleet=parts.fleet,
        kits=Kits(parts.fleet, preferred, output_check(settings)),
        uploads=Uploads(parts.objects, lambda: secrets.token_hex(16)),
        outputs=Outputs(parts.objects, settings.store_patience_seconds),
        settlement=settlement,
        events=events,
        stall_seconds=settings.stall_seconds,
    )
    dispatcher = Dispatcher(
        live=parts.live,
        scheduler=Scheduler(max_attempts=settings.max_attempts),
        runner=runner,
        settlement=settlement,
        store=parts.store,
        accounts=accounts,
        clock=now,
        max_job_seconds=settings.max_job_seconds,
    )
    return Service(
        live=parts.live,
        desk=Desk(
            live=parts.live,
            prices=lambda: PriceLists(parts.prices, now().date()),
            reader=reader(settings, parts.downloads),
            allow_private=settings.allow_private_urls,
        ),
        accounts=accounts,
        store=parts.store,
        objects=parts.objects,
        dispatcher=dispatcher,
        settlement=settlement,
        events=events,
        moderation=parts.moderation,
        expiry=Expiry(timedelta(days=settings.output_lifetime_days), now),
        clock=now,
        random_bits=random.SystemRandom().getrandbits,
        max_wait=settings.max_wait_seconds,
    )


def job_delivery(service: Service) -> OutputDelivery:
    return OutputDelivery(service.objects, JOB_URL_SECONDS, service.expiry)


def telling(service: Service) -> WebhookPayloads:
    """The words of webhooks."""
    delivery = job_delivery(service)
    theirs = {pixazo.DIALECT_NAME: PixazoJobViews(delivery).webhook_payload}
    return WebhookPayloads(service.store, JobRoutes(service, delivery).to_response, theirs)


def web_app(settings: Settings, service: Service) -> web.Application:
    """The HTTP side of a service."""
    token = admin_token(settings)
    metrics = Metrics(service)
    delivery = OutputDelivery(service.objects, settings.url_lifetime_seconds, service.expiry)
    metrics_token = None if settings.public_metrics else token
    admin = InstanceAdminRoutes(service.dispatcher, metrics.instance_rows, service.clock, token)
    secure = (settings.public_url or "").startswith("https://")
    session_secret = kept_secret(settings.data_dir / "session-secret")
    sessions = SessionManager(session_secret, token, service.store, service.clock, secure=secure)
    payer = api_key_authenticator(service.store, ApiKeyScope.BILLING)
    parts = (
        ImageRoutes(service, delivery),
        ModelRoutes(service),
        VideoRoutes(service, settings.output_lifetime_days),
        JobRoutes(service, job_delivery(service)),
        PixelApiRoutes(service, job_delivery(service)),
        PixelDojoRoutes(service, settings.public_url),
        PixazoRoutes(service, job_delivery(service), settings.public_url, settings.batch_wait_seconds),
        BillingRoutes(service, payer),
        AlertRoutes(service, payer, allow_private=settings.allow_private_urls),
        WebhookMessageRoutes(service, payer),
        PaymentRoutes(service, settings.payment_secret),
        AccountAdminRoutes(service, token),
        ModelAdminRoutes(service, token),
        WalletAdminRoutes(service, load_costs(settings), token),
        admin,
        DashboardRoutes(service, delivery, admin, sessions, allow_private=settings.allow_private_urls),
        DocsRoutes(),
        HealthRoutes(service.dispatcher.fleet, service.objects, metrics, metrics_token),
    )
    routes = [route for part in parts for route in part.routes()]
    limits = RateLimiter(
        settings.limits_url,
        failures_per_minute=settings.failures_per_minute,
        trusted_proxies=settings.trusted_proxies,
    )
    door = AuthContext(accounts=service.accounts, limits=limits)
    return make_app(routes, door, max_body_bytes=settings.max_body_bytes, metrics=metrics.http)


def choose_fleet(settings: Settings) -> Fleet:
    """Adopted servers, simulators, or one real ComfyUI per device, as settings and machine say."""
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


async def s3_access(settings: Settings, stack: AsyncExitStack) -> S3Config:
    """The configured S3 server, or an embedded one that lives as long as `stack`."""
    if settings.s3_endpoint is None:
        server = EmbeddedS3(settings.data_dir / "s3")
        await server.start()
        stack.push_async_callback(server.stop)
        return server.bucket_config(settings.s3_bucket, settings.s3_public_endpoint)
    if settings.s3_access_key is None or settings.s3_secret_key is None:
        raise SettingsError("PIXELFACTORY_S3_ENDPOINT needs PIXELFACTORY_S3_ACCESS_KEY and _S3_SECRET_KEY")
    return S3Config(
        endpoint=settings.s3_endpoint,
        access_key=settings.s3_access_key.get_secret_value(),
        secret_key=settings.s3_secret_key.get_secret_value(),
        bucket=settings.s3_bucket,
        region=settings.s3_region,
        public_endpoint=settings.s3_public_endpoint,
    )
