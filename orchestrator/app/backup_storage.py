"""Object storage for backups: of the running service, or an embedded server that is started for as long."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from orchestrator.app.parts import ensure_s3_server
from orchestrator.backup.location import SECRET_FILES, DataLocation
from orchestrator.database_url import describe_database
from orchestrator.settings import Settings, SettingsError
from orchestrator.storage.embedded_server import find_running_server
from orchestrator.storage.object_store import ObjectStore


def locate_data(settings: Settings) -> DataLocation:
    """Return where the settings keep the data. Raises SettingsError for a PostgreSQL database."""
    if (url := settings.postgres_url) is not None:
        raise SettingsError(
            f"`backup` and `restore` work with SQLite, and the database is {describe_database(url)}: use"
            f" pg_dump and pg_restore, and copy {', '.join(SECRET_FILES)} of {settings.data_dir} as well, or"
            " the settings that replace them"
        )
    return DataLocation(
        data_dir=settings.data_dir, database=settings.database_path, models=settings.published_path
    )


@asynccontextmanager
async def open_object_store(settings: Settings) -> AsyncIterator[ObjectStore]:
    """Open the bucket of the settings, whether a service runs on the data directory or not.

    Raises SettingsError, ObjectStoreError.
    """
    async with AsyncExitStack() as stack:
        running = None
        if settings.s3_endpoint is None:
            running = await find_running_server(settings.data_dir / "s3", settings.s3_bucket)
        config = running or await ensure_s3_server(settings, stack)
        yield await stack.enter_async_context(ObjectStore(config))
