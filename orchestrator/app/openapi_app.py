"""The application without a service: every address is there, and nothing behind it runs."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from aiohttp import web

from comfy_instances.fleet.adopted import AdoptedFleet
from orchestrator.app.build import ServiceDependencies, build_service, build_web_app
from orchestrator.app.resources import utc_now
from orchestrator.billing.price_files import check_model_priced, load_plans, load_tariffs
from orchestrator.catalog.live_catalog import LiveCatalog
from orchestrator.moderation import Moderation
from orchestrator.net.downloads import FetchPolicy, UrlFetcher
from orchestrator.settings import Settings
from orchestrator.storage.object_store import ObjectStore, S3Config
from orchestrator.store import SqliteStore

#: An address at which nobody is asked anything.
UNREACHABLE_S3 = S3Config(endpoint="http://127.0.0.1:9", access_key="none", secret_key="none", bucket="none")


@asynccontextmanager
async def build_openapi_app(settings: Settings) -> AsyncIterator[web.Application]:
    """The application of these settings, for documents of its addresses. Leaves nothing behind.

    Raises CatalogError, SettingsError, TariffError.
    """
    prices, plans = load_tariffs(settings), load_plans(settings)
    live = LiveCatalog(
        settings.workflows_dir, lambda model: check_model_priced(model, prices, utc_now().date())
    )
    async with AsyncExitStack() as stack:
        aside = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        store = SqliteStore(aside / "outline.sqlite")
        stack.push_async_callback(store.close)
        objects = await stack.enter_async_context(ObjectStore(UNREACHABLE_S3))
        downloads = await stack.enter_async_context(UrlFetcher(FetchPolicy()))
        parts = ServiceDependencies(
            live, prices, plans, store, AdoptedFleet([]), objects, downloads, Moderation([])
        )
        settings = settings.model_copy(update={"data_dir": aside})
        yield build_web_app(settings, build_service(settings, parts))
