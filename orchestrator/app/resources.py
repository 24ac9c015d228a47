"""Resources that both the service and the commands open: store, catalogue with prices, admin token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING

from orchestrator.app.operator_secrets import read_configured
from orchestrator.app.shared_clock import clock
from orchestrator.backup.unfinished import require_finished_restore
from orchestrator.billing.price_files import load_tariffs_for_catalog
from orchestrator.catalog import Catalog, load_stand_ins
from orchestrator.files.data_directory import make_database_private
from orchestrator.files.secret_box import KEY_FILE_NAME, SecretBox
from orchestrator.settings import Settings, SettingsError
from orchestrator.store import Store
from orchestrator.store.sqlite import SqliteStore
from pricing.tariff import DEFAULT_TARIFF, Tariff

if TYPE_CHECKING:
    from limits.aio.storage import Storage

    from orchestrator.store.postgres.store import PostgresStore


def utc_now() -> datetime:
    """Return the current time in UTC, by the clock that all processes of the installation share."""
    return clock.now()


@dataclass(frozen=True, slots=True)
class Term:
    """What the leader of the schedulers of a PostgreSQL database was elected for."""

    number: int
    #: Called in a thread once a write was refused, because another scheduler leads.
    on_ended: Callable[[], None]


@asynccontextmanager
async def open_store(settings: Settings, term: Term | None = None) -> AsyncIterator[Store]:
    """Open the configured store. The service and any number of commands may have it open at the same time.

    With a term, which PostgreSQL only has, writes are refused once it has ended.
    Raises UnknownSchema for a database of a newer version, RestoreUnfinished, SecretUnreadable,
    SettingsError, ServiceUnavailable if a PostgreSQL database cannot be used now.
    """
    require_finished_restore(settings.data_dir)
    box = SecretBox(settings.data_dir / KEY_FILE_NAME, read_configured(settings.database_key))
    if (url := settings.postgres_url) is not None:
        shared = await asyncio.to_thread(_open_postgres, url, box, settings.database_connections, term)
        async with _closing(shared), clock.following(shared.read_clock):
            yield shared
    else:
        make_database_private(settings.database_path, create=True)
        async with _closing(SqliteStore(settings.database_path, secret_box=box)) as store:
            yield store


@asynccontextmanager
async def _closing(store: Store) -> AsyncIterator[Store]:
    try:
        yield store
    finally:
        await store.close()


def _open_postgres(url: str, box: SecretBox, max_connections: int, term: Term | None) -> PostgresStore:
    require_postgres_driver()
    from orchestrator.store.postgres.store import PostgresStore

    store = PostgresStore(url, box, max_connections=max_connections)
    if term is not None:
        require_term(store, term)
    return store


def require_term(store: Store, term: Term) -> None:
    """Refuse writes of a store from now on once another scheduler leads."""
    from orchestrator.store.postgres.store import PostgresStore

    assert isinstance(store, PostgresStore)
    store.require_term(term.number, term.on_ended)


async def find_scheduler_url(store: Store) -> str | None:
    """Return where the leading scheduler of a PostgreSQL database is reached; None if none leads."""
    from orchestrator.store.postgres.store import PostgresStore

    return await store.find_scheduler_url() if isinstance(store, PostgresStore) else None


def shared_request_counts(settings: Settings, store: Store) -> Storage | None:
    """Return request counts that all processes of a PostgreSQL database share.

    None if the settings name another storage, such as Redis.
    """
    from orchestrator.store.postgres.store import PostgresStore

    counts_in_memory = settings.limits_url.startswith("memory:")
    return store.request_counts() if counts_in_memory and isinstance(store, PostgresStore) else None


def require_postgres_driver() -> None:
    """Raise SettingsError if the driver of PostgreSQL is not installed; nothing else imports it."""
    if find_spec("psycopg") is None:
        raise SettingsError(
            "a PostgreSQL database needs the extra `postgres`: pip install 'pixel-factory[postgres]'"
        )


def load_catalog_and_tariff(settings: Settings) -> tuple[Catalog, Tariff]:
    """Return all models and the default price list of today. Raises CatalogError, and what
    `load_tariffs_for_catalog` raises."""
    catalog = Catalog.load(settings.workflows_dir, settings.published_path)
    if settings.stand_ins_path.exists():
        catalog = catalog.with_stand_ins(load_stand_ins(settings.stand_ins_path, catalog))
    return catalog, load_tariffs_for_catalog(settings, catalog, utc_now().date()).in_force_on(
        DEFAULT_TARIFF, utc_now().date()
    )
