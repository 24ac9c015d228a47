"""The catalogue as its directory has it: read again whenever a file of a model changes.

What requests and jobs hold are models, which never change; a new catalogue only decides what comes next.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from orchestrator.catalog import Catalog, CatalogError, Model, find_model_folders, load_stand_ins

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
_MODEL_FILES = ("model.toml", "graph.json", "nodes.json")

#: Path, time of the last change in nanoseconds and bytes of every file.
Fingerprint = frozenset[tuple[str, int, int]]
CheckModel = Callable[[Model], None]


class LiveCatalog:
    """The models of one directory, at any moment. `start` and `stop` frame its watching."""

    def __init__(
        self,
        directory: Path,
        check_model: CheckModel,
        poll_seconds: float = POLL_SECONDS,
        *,
        stand_ins: Path | None = None,
    ) -> None:
        """Reads the directory. `check_model` raises CatalogError for a model that may not be offered;
        `stand_ins_path`
        is the file of those, if there is one.

        Raises CatalogError where there is no such directory, or not one right model in it, or the file of
        stand-ins is wrong.
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
        """The model, also after it was withdrawn: its results are asked for longer than it is offered.
        Raises InvalidRequest (`model_not_found`) where this process has never known it."""
        return self._withdrawn[id] if id in self._withdrawn else self.catalog[id]

    def is_outdated(self, model: Model) -> bool:
        """Whether it is offered no more, or in another version."""
        return model.id not in self.catalog or self.catalog[model.id].digest != model.digest

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Calls `listener` after each change."""
        self._listeners.append(listener)

    def start(self) -> None:
        self._watch_task = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        if self._watch_task:
            self._watch_task.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch_task

    async def _watch(self) -> None:
        before = self._loaded_fingerprint
        while True:
            await asyncio.sleep(self._poll_seconds)
            now = await asyncio.to_thread(self._fingerprint)
            # Only what has come to rest is read: an editor or a copy may be half done.
            if now == before != self._loaded_fingerprint:
                self._loaded_fingerprint = now
                await self._refresh()
            before = now

    async def _refresh(self) -> None:
        try:
            new, refused = await asyncio.to_thread(self.catalog.reload, self._directory, self._check_model)
        except CatalogError as error:
            log.error("the models stay as they are: %s", error)
            return
        try:
            new = self._with_stand_ins(new)
        except CatalogError as error:
            refused = [*refused, error]
        old, self.catalog = self.catalog, new
        known_once = self._withdrawn | {model.id: model for model in old}
        self._withdrawn = {id: model for id, model in known_once.items() if id not in new}
        known, self.rejections = self.rejections, refused
        self._log_rejections(tuple(map(str, known)))
        for line in describe_changes(old, new):
            log.info("%s", line)
        for listener in self._listeners:
            listener()

    def _with_stand_ins(self, catalog: Catalog) -> Catalog:
        """Raises CatalogError."""
        file = self._stand_ins
        found = load_stand_ins(file, catalog) if file and file.exists() else {}
        for name in sorted(found.keys() - catalog.stand_ins.keys()):
            log.info("%s stands in for %s", found[name], name)
        return catalog.with_stand_ins(found)

    def _fingerprint(self) -> Fingerprint:
        mark = _fingerprint_file(self._stand_ins) if self._stand_ins else None
        return fingerprint_directory(self._directory) | ({mark} if mark else set())

    def _log_rejections(self, logged: tuple[str, ...]) -> None:
        for error in self.rejections:
            if str(error) not in logged:
                log.error("refused: %s", error)


def fingerprint_directory(directory: Path) -> Fingerprint:
    """What tells one state of the directory from another; of no directory it is empty."""
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
    """One line for each model that came, went or is another now."""
    before, after = ({model.id: model.digest for model in catalog} for catalog in (old, new))
    for id in sorted(before.keys() | after.keys()):
        if id not in before:
            yield f"{id} is offered, version {after[id][:12]}"
        elif id not in after:
            yield f"{id} is withdrawn"
        elif before[id] != after[id]:
            yield f"{id} is now version {after[id][:12]}, no longer {before[id][:12]}"
