"""Builds an application and a service that do not run, for documents and checks."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from aiohttp import web

from comfy_instances.fleet.adopted import AdoptedFleet
from orchestrator.app.build import ServiceDependencies, build_service
from orchestrator.app.resources import load_operator_secrets, utc_now
from orchestrator.app.web_app import build_delivery, build_web_app
from orchestrator.billing.price_files import check_model_priced, load_plans, load_tariffs
from orchestrator.catalog.live_catalog import LiveCatalog
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
    async with build_offline_service(settings) as (settings, service):
        secrets = load_operator_secrets(settings)
        yield build_web_app(settings, service, secrets, build_delivery(settings, service, secrets))


@asynccontextmanager
async def build_offline_service(settings: Settings) -> AsyncIterator[tuple[Settings, GenerationService]]:
    """Yield a service without instances, and its settings with a temporary data directory.

    Raises CatalogError, SettingsError, TariffError.
    """
    tariffs, plans = load_tariffs(settings), load_plans(settings)
    live_catalog = LiveCatalog(
        settings.workflows_dir, lambda model: check_model_priced(model, tariffs, utc_now().date())
    )
    async with AsyncExitStack() as stack:
        data_dir = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        store = SqliteStore(data_dir / "store.sqlite")
        stack.push_async_callback(store.close)
        object_store = await stack.enter_async_context(ObjectStore(UNREACHABLE_S3))
        url_fetcher = await stack.enter_async_context(UrlFetcher(FetchPolicy()))
        dependencies = ServiceDependencies(
            live_catalog=live_catalog,
            tariffs=tariffs,
            plans=plans,
            store=store,
            fleet=AdoptedFleet([]),
            object_store=object_store,
            url_fetcher=url_fetcher,
            moderation=Moderation([]),
        )
        settings = settings.model_copy(update={"data_dir": data_dir})
        yield settings, build_service(settings, dependencies)
