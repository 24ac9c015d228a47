"""Builds an application and a service that do not run, for documents and checks."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from aiohttp import web

from comfy_instances.fleet.adopted import AdoptedFleet
from orchestrator.app.operator_secrets import load_operator_secrets
from orchestrator.app.parts import (
    Execution,
    ServiceDependencies,
    build_core,
    build_execution,
    build_service,
    load_offer,
)
from orchestrator.app.web_app import build_delivery, build_execution_views, build_web_app
from orchestrator.media.marks.marking import MediaMarker
from orchestrator.moderation import Moderation
from orchestrator.net.downloads import FetchPolicy, UrlFetcher
from orchestrator.service import GenerationService
from orchestrator.settings import Settings
from orchestrator.storage.object_store import ObjectStore, S3Config
from orchestrator.store.sqlite import SqliteStore

#: Placeholder; no request is ever sent to it.
UNREACHABLE_S3 = S3Config(endpoint="http://127.0.0.1:9", access_key="none", secret_key="none", bucket="none")


@asynccontextmanager
async def build_openapi_app(settings: Settings) -> AsyncIterator[web.Application]:
    """Yield the application of these settings; all its files are temporary.

    Raises CatalogError, SettingsError, TariffError.
    """
    async with _build_offline(settings) as (settings, service, execution):
        secrets = load_operator_secrets(settings)
        views = build_execution_views(service, execution, secrets)
        yield build_web_app(settings, service, views, secrets, build_delivery(settings, service, secrets))


@asynccontextmanager
async def build_offline_service(settings: Settings) -> AsyncIterator[tuple[Settings, GenerationService]]:
    """Yield a service without instances, and its settings with a temporary data directory.

    Raises CatalogError, SettingsError, TariffError.
    """
    async with _build_offline(settings) as (settings, service, _):
        yield settings, service


@asynccontextmanager
async def _build_offline(settings: Settings) -> AsyncIterator[tuple[Settings, GenerationService, Execution]]:
    offer = load_offer(settings, with_stand_ins=False)
    async with AsyncExitStack() as stack:
        data_dir = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        store = SqliteStore(data_dir / "store.sqlite")
        stack.push_async_callback(store.close)
        object_store = await stack.enter_async_context(ObjectStore(UNREACHABLE_S3))
        url_fetcher = await stack.enter_async_context(UrlFetcher(FetchPolicy()))
        dependencies = ServiceDependencies(
            live_catalog=offer.live_catalog,
            tariffs=offer.tariffs,
            plans=offer.plans,
            store=store,
            object_store=object_store,
            url_fetcher=url_fetcher,
            moderation=Moderation([]),
            marker=MediaMarker(),
        )
        settings = settings.model_copy(update={"data_dir": data_dir})
        core = build_core(settings, dependencies)
        execution = build_execution(settings, dependencies, AdoptedFleet([]), core)
        service = build_service(settings, dependencies, core, execution.dispatcher, execution.shared_loras)
        yield settings, service, execution
