"""Published models of several processes: the database has their files, each process has a copy."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from comfy_instances.tasks import keep_running, spawn
from orchestrator.app.resources import require_postgres_driver
from orchestrator.catalog.live_catalog import Fingerprint, LiveCatalog
from orchestrator.catalog.publishing.publisher import ModelPublisher
from orchestrator.catalog.publishing.shared_directory import SharedDirectory
from orchestrator.catalog.publishing.shared_publisher import SharedModelPublisher
from orchestrator.errors import ServiceUnavailable
from orchestrator.jobs import Job
from orchestrator.settings import Settings, SettingsError
from orchestrator.store import Store
from orchestrator.store.signals import POLL_SECONDS, StoreEventKind

if TYPE_CHECKING:
    from orchestrator.store.postgres.store import PostgresStore

log = logging.getLogger(__name__)


def open_shared_models(settings: Settings) -> SharedDirectory | None:
    """Return the copy of the published models; None if the directory has them. Raises SettingsError."""
    url = settings.postgres_url
    if url is None or not settings.shares_models_in_database:
        return None
    require_postgres_driver()
    from orchestrator.store.postgres.published_files import PublishedFiles

    earlier = None if settings.uses_shipped_models else settings.workflows_dir
    return SharedDirectory(settings.published_path, PublishedFiles(url), earlier)


def open_publisher(settings: Settings) -> ModelPublisher:
    """Return what changes the published models, for all processes. Raises SettingsError."""
    shared = open_shared_models(settings)
    return ModelPublisher(settings.published_path) if shared is None else SharedModelPublisher(shared)


def fetch_published_models(settings: Settings) -> SharedDirectory | None:
    """Bring this process's copy up to date, before its models are loaded; blocks.

    Raises SettingsError, ServiceUnavailable, UnknownSchema.
    """
    shared = open_shared_models(settings)
    if shared is not None:
        try:
            shared.prepare()
        except OSError as error:
            raise SettingsError(
                f"the copy of the published models in {shared.directory} cannot be brought up to date:"
                f" {error}; PIXELFACTORY_DATA_DIR must be a directory that can be written"
            ) from error
    return shared


@contextmanager
def edited_models(settings: Settings) -> Iterator[None]:
    """Take the current models before files are edited, and give them to all processes afterwards."""
    shared = fetch_published_models(settings)
    yield
    if shared is not None:
        shared.synchronize()


@dataclass(frozen=True, kw_only=True, slots=True)
class SharedModels:
    """Keeps the models of a process equal to those of the others: within a second, or sooner if notified."""

    directory: SharedDirectory
    store: PostgresStore
    live_catalog: LiveCatalog
    _tasks: set[asyncio.Task[None]] = field(default_factory=set, init=False)

    async def start(self) -> None:
        """Begin to follow the changes, with those since the models were loaded."""
        if await self.store.read_models_version() != self.directory.version:
            await self._fetch()
        spawn(keep_running(self._run, "shared models"), "shared models", group=self._tasks)

    async def stop(self) -> None:
        """Stop following."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def load_model(self, job: Job) -> None:
        """See to it that this process has the version of the model that a job was accepted with."""
        version = job.model_version
        if version is None or self.live_catalog.has_version(job.model, version):
            return
        try:
            await self._fetch()
        except OSError as error:
            log.error("the model %s cannot be fetched: %s", job.model, error)

    async def _run(self) -> None:
        seen: Fingerprint | None = None
        with self.store.signals.subscribe(StoreEventKind.MODELS_CHANGED) as subscription:
            while True:
                await subscription.next_events(POLL_SECONDS)
                try:
                    seen = await self._follow(seen)
                except (ServiceUnavailable, OSError) as error:
                    log.warning("changes of published models cannot be followed now: %s", error)
                    await asyncio.sleep(POLL_SECONDS)

    async def _follow(self, seen: Fingerprint | None) -> Fingerprint:
        """Fetch what is new, and give away what was edited by hand; return the marks of the files."""
        if await self.store.read_models_version() != self.directory.version:
            await self._fetch()
        marks = await asyncio.to_thread(self.live_catalog.read_fingerprint)
        # The catalogue reloads files once they stop changing; then they are complete.
        if seen is not None and marks != seen and marks == self.live_catalog.loaded_fingerprint:
            await asyncio.to_thread(self.directory.synchronize)
        elif seen is not None and marks != seen:
            return seen
        return marks

    async def _fetch(self) -> None:
        await asyncio.to_thread(self.directory.synchronize)
        await self.live_catalog.refresh()


async def follow_published_models(
    directory: SharedDirectory | None, store: Store, live_catalog: LiveCatalog, stack: AsyncExitStack
) -> Callable[[Job], Awaitable[None]]:
    """Keep the models equal to those of other processes, until `stack` ends.

    Returns what fetches the model of a job, if this process lacks it. Raises ServiceUnavailable.
    """
    if directory is None:
        return _have_model
    from orchestrator.store.postgres.store import PostgresStore

    assert isinstance(store, PostgresStore)
    models = SharedModels(directory=directory, store=store, live_catalog=live_catalog)
    await models.start()
    stack.push_async_callback(models.stop)
    return models.load_model


async def _have_model(job: Job) -> None:
    """All processes read the same directory, or there is one process."""
