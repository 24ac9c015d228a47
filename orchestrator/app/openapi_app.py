"""The application without a service: every address is there, and nothing behind it runs."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from aiohttp import web

from comfy_instances.fleet.adopted import AdoptedFleet
from orchestrator.app.build import Parts, web_app, wire
from orchestrator.app.resources import now
from orchestrator.billing.price_files import check_priced, load_book, load_plans
from orchestrator.catalog.live_catalog import LiveCatalog
from orchestrator.moderation import Moderation
from orchestrator.net.downloads import FetchPolicy, UrlFetcher
from orchestrator.settings import Settings
from orchestrator.storage.object_store import ObjectStore, S3Config
from orchestrator.store import SqliteStore

#: An address at which nobody is asked anything.
NOWHERE = S3Config(endpoint="http://127.0.0.1:9", access_key="none", secret_key="none", bucket="none")


@asynccontextmanager
async def outlined(settings: Settings) -> AsyncIterator[web.Application]:
    """The application of these settings, for documents of its addresses. Leaves nothing behind.

    Raises CatalogError, SettingsError, TariffError.
    """
    prices, plans = load_book(settings), load_plans(settings)
    live = LiveCatalog(settings.workflows_dir, lambda model: check_priced(model, prices, now().date()))
    async with AsyncExitStack() as stack:
        aside = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        store = SqliteStore(aside / "outline.sqlite")
        stack.push_async_callback(store.close)
        objects = await stack.enter_async_context(ObjectStore(NOWHERE))
        downloads = await stack.enter_async_context(UrlFetcher(FetchPolicy()))
        parts = Parts(live, prices, plans, store, AdoptedFleet([]), objects, downloads, Moderation([]))
        settings = settings.model_copy(update={"data_dir": aside})
        yield web_app(settings, wire(settings, parts))
