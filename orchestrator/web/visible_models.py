"""Which models a caller of a public list sees."""

from __future__ import annotations

from aiohttp import web

from orchestrator.catalog import Catalog
from orchestrator.web.auth import find_key
from orchestrator.web.protocols import ModelOffer


async def visible_catalog(request: web.Request, offer: ModelOffer) -> Catalog:
    """Return the offered models, and, for a request with an API key, the drafts of its account."""
    key = await find_key(request)
    return offer.catalog if key is None else offer.catalog_for(key)
