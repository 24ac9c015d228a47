"""What commands and the service open alike: the store, the catalogue with its prices, kept secrets."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.billing.price_files import load_tariffs_for_catalog
from orchestrator.catalog import Catalog
from orchestrator.settings import Settings
from orchestrator.store import SqliteStore, Store
from pricing.tariff import DEFAULT_TARIFF, Tariff


def utc_now() -> datetime:
    return datetime.now(UTC)


@asynccontextmanager
async def open_store(settings: Settings) -> AsyncIterator[Store]:
    """The store of these settings. A running service and any command may have it open at once."""
    path = settings.database_path
    path.parent.mkdir(parents=True, exist_ok=True)
    store = SqliteStore(path)
    try:
        yield store
    finally:
        await store.close()


def load_catalog_and_tariff(settings: Settings) -> tuple[Catalog, Tariff]:
    """All models and their prices of today. Raises as `load_tariffs_for_catalog` does, and CatalogError."""
    catalog = Catalog.load(settings.workflows_dir)
    return catalog, load_tariffs_for_catalog(settings, catalog, utc_now().date()).in_force_on(
        DEFAULT_TARIFF, utc_now().date()
    )


def load_admin_token(settings: Settings) -> str:
    """The configured token, or the one in `DATA_DIR/admin-token`, which is made at the first start."""
    if settings.admin_token:
        return settings.admin_token.get_secret_value()
    return load_or_create_secret(settings.data_dir / "admin-token")


def load_or_create_secret(file: Path) -> str:
    """The text in `file`, which is drawn at random the first time, for this user's eyes only."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as new:
            new.write(secrets.token_urlsafe(32))
    return file.read_text().strip()
