"""The live catalog: reloads the models of a directory when their files change.

Models are immutable: requests and jobs keep the version that they started with.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from comfy_instances.tasks import keep_running, spawn
from orchestrator.catalog import Catalog, CatalogError, Model, find_model_folders, load_stand_ins

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
_MODEL_FILES = ("model.toml", "graph.json", "nodes.json")

#: Path, modification time in nanoseconds and size of every file.
Fingerprint = frozenset[tuple[str, int, int]]
CheckModel = Callable[[Model], None]


class LiveCatalog:
    """The current models of one directory, watched for changes between `start` and `stop`."""

    def __init__(
        self,
        directory: Path,
        check_model: CheckModel,
        poll_seconds: float = POLL_SECONDS,
        *,
        stand_ins: Path | None = None,
    ) -> None:
        """Load the directory, and the file `stand_ins` if it exists.

        `check_model` raises CatalogError for a model that must not be offered. Raises CatalogError if the
        directory does not exist or has no valid model, or if the file of stand-ins is invalid.
        """
        self._directory = directory
        self._stand_ins = stand_ins
        self._check_model = check_model
        self._poll_seconds = poll_seconds
        self._listeners: list[Callable[[], None]] = []
        self._watch_task: asyncio.Task[None] | None = None
        self._loaded_fingerprint = self._fingerprint()
        self._withdrawn: dict[str, Model] = {}
        self.catalog, self.rejections = Catalog([]).reload(directory, check_model)
        if self.rejections and not self.catalog:
            raise self.rejections[0]
        self._log_rejections(())
        self.catalog = self._with_stand_ins(self.catalog)

    def get_known_model(self, id: str) -> Model:
        """Return a model that this process has ever offered: results outlive withdrawn models.

        Raises InvalidRequest (`model_not_found`).
        """
        return self._withdrawn[id] if id in self._withdrawn else self.catalog[id]

    def is_outdated(self, model: Model) -> bool:
        """Return whether the model is withdrawn or offered in another version."""
        return model.id not in self.catalog or self.catalog[model.id].digest != model.digest

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call `listener` after each reload."""
        self._listeners.append(listener)

    def start(self) -> None:
        """Start watching the directory."""
        self._watch_task = spawn(keep_running(self._watch, "model watcher"), "model watcher")

    async def stop(self) -> None:
        """Stop watching the directory."""
        if self._watch_task:
            self._watch_task.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch_task

    async def _watch(self) -> None:
        before = self._loaded_fingerprint
        while True:
            await asyncio.sleep(self._poll_seconds)
            now = await asyncio.to_thread(self._fingerprint)
            # Reload only once the files stop changing: an editor or a copy may not have finished.
            if now == before != self._loaded_fingerprint:
                self._loaded_fingerprint = now
                await self._refresh()
            before = now

    async def _refresh(self) -> None:
        try:
            new, rejections = await asyncio.to_thread(self.catalog.reload, self._directory, self._check_model)
        except CatalogError as error:
            log.error("cannot reload the models, keeping the loaded ones: %s", error)
            return
        try:
            new = self._with_stand_ins(new)
        except CatalogError as error:
            rejections = [*rejections, error]
        old, self.catalog = self.catalog, new
        offered_once = self._withdrawn | {model.id: model for model in old}
        self._withdrawn = {id: model for id, model in offered_once.items() if id not in new}
        logged, self.rejections = self.rejections, rejections
        self._log_rejections(tuple(map(str, logged)))
        for line in describe_changes(old, new):
            log.info("%s", line)
        for listener in self._listeners:
            listener()

    def _with_stand_ins(self, catalog: Catalog) -> Catalog:
        """Raises CatalogError."""
        file = self._stand_ins
        found = load_stand_ins(file, catalog) if file and file.exists() else {}
        for name in sorted(found.keys() - catalog.stand_ins.keys()):
            log.info("%s: requests are served by %s", name, ", ".join(dict.fromkeys(found[name].names())))
        return catalog.with_stand_ins(found)

    def _fingerprint(self) -> Fingerprint:
        mark = _fingerprint_file(self._stand_ins) if self._stand_ins else None
        return fingerprint_directory(self._directory) | ({mark} if mark else set())

    def _log_rejections(self, logged: tuple[str, ...]) -> None:
        for error in self.rejections:
            if str(error) not in logged:
                log.error("model rejected: %s", error)


def fingerprint_directory(directory: Path) -> Fingerprint:
    """Return a fingerprint of all model files; empty if the directory does not exist."""
    try:
        folders = find_model_folders(directory)
    except CatalogError:
        return frozenset()
    files = (folder / name for folder in folders for name in _MODEL_FILES)
    return frozenset(mark for mark in map(_fingerprint_file, files) if mark)


def _fingerprint_file(file: Path) -> tuple[str, int, int] | None:
    try:
        stat = file.stat()
    except OSError:
        return None
    return str(file), stat.st_mtime_ns, stat.st_size


def describe_changes(old: Catalog, new: Catalog) -> Iterator[str]:
    """Yield one line for each model that was added, withdrawn or changed."""
    before, after = ({model.id: model.digest for model in catalog} for catalog in (old, new))
    for id in sorted(before.keys() | after.keys()):
        if id not in before:
            yield f"{id} is offered, version {after[id][:12]}"
        elif id not in after:
            yield f"{id} is withdrawn"
        elif before[id] != after[id]:
            yield f"{id} is now version {after[id][:12]}, no longer {before[id][:12]}"
