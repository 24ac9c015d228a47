"""What authors do with models in a running service: submit, publish, compare, roll back and remove them."""

from __future__ import annotations

import asyncio
import dataclasses
import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from orchestrator.catalog import CatalogError, Model
from orchestrator.catalog.checks.node_facts import NodeFacts
from orchestrator.catalog.import_export import InvalidWorkflow
from orchestrator.catalog.import_export.api_source import copy_api_graph
from orchestrator.catalog.live_catalog import LiveCatalog
from orchestrator.catalog.publishing.draft_catalog import parse_files
from orchestrator.catalog.publishing.installed_nodes import InstalledNodes
from orchestrator.catalog.publishing.publisher import Change, ModelPublisher
from orchestrator.catalog.publishing.records import Author, ModelRecord
from orchestrator.catalog.publishing.refusals import incomplete, unusable
from orchestrator.catalog.publishing.result_counts import BATCH
from orchestrator.catalog.publishing.submission import (
    Knowledge,
    Submission,
    SubmittedModel,
    build_model,
    check_publishable,
)
from orchestrator.catalog.publishing.version_files import (
    GRAPH_NAME,
    MANIFEST_NAME,
    digest_of,
    is_model_id,
)
from orchestrator.errors import Conflict, Forbidden, InvalidRequest, NotFound, ServiceUnavailable

ResultT = TypeVar("ResultT")

#: Files that a comparison of versions shows.
_COMPARED_FILES = (MANIFEST_NAME, GRAPH_NAME)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelState:
    """A model with its versions."""

    id: str
    record: ModelRecord
    #: Digest of the live version; None if the model is not live.
    live: str | None
    #: Digest of the draft as its files are now; None without a draft.
    draft: str | None
    #: Whether the live version ships with the service or was put there by hand, and has no history.
    is_own: bool
    versions: tuple[str, ...]
    #: Whether draft and versions are shown, or only what every author may see.
    is_complete: bool = True

    def only_live(self) -> ModelState:
        """Return what authors see of the models of operators."""
        return dataclasses.replace(self, record=ModelRecord(), draft=None, versions=(), is_complete=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelPublishing:
    """Changes the models of a running service. Changes are offered when a method returns."""

    live_catalog: LiveCatalog
    publisher: ModelPublisher
    #: Raises CatalogError for a model without a price.
    check_price: Callable[[Model], None]
    #: Returns the facts of all classes that the service knows.
    load_facts: Callable[[], NodeFacts]
    comfyui_version: str
    clock: Callable[[], datetime]
    #: Returns what is known about the nodes of installed packs.
    load_installed: Callable[[], InstalledNodes] = InstalledNodes

    async def build(self, submission: Submission) -> SubmittedModel:
        """Make a model of what an author submits. Nothing is stored. Raises InvalidRequest."""
        knowledge = Knowledge(
            facts=await asyncio.to_thread(self.load_facts),
            comfyui_version=self.comfyui_version,
            offered=list(self.live_catalog.catalog),
            today=self.clock().date(),
            installed=await asyncio.to_thread(self.load_installed),
        )
        try:
            built = await asyncio.to_thread(_build, submission, knowledge)
            self.check_price(built.model)
        except InvalidWorkflow as error:
            field = "prompt" if submission.workflow is None else "workflow"
            raise InvalidRequest(f"`{field}`: {error}", code="invalid_workflow", param=field) from error
        except CatalogError as error:
            raise InvalidRequest(
                f"`{error.where}`: {error.reason}", code=f"invalid_{error.where}", param="manifest"
            ) from error
        return built

    async def read_latest(self, id: str, author: Author) -> dict[str, str]:
        """Return the files that a new version of a model replaces; empty if the author has none."""
        catalog = self.live_catalog.catalog

        def read() -> dict[str, str]:
            state = self._read_state(id)
            if state is None or not may_change(state.record, author):
                return {}
            return self.publisher.read_latest(id, catalog) or {}

        return await self._guard(read)

    async def check_author(self, id: str, author: Author) -> None:
        """Raise Forbidden or Conflict if the author cannot save a model of this id."""
        catalog = self.live_catalog.catalog
        if is_model_id(id):
            await self._guard(lambda: self.publisher.check_author(id, author, catalog))

    async def read_made(self, id: str) -> Mapping[str, int]:
        """Return how many results test runs of a model's versions made, by digest."""
        files = self.publisher.files
        return (await self._guard(lambda: files.read_record(id))).made if is_model_id(id) else {}

    async def save_draft(self, built: SubmittedModel, author: Author, why: str, *, replace: bool) -> str:
        """Save a model as a draft and return its version.

        Raises InvalidRequest for a graph that no server would run, Conflict, Forbidden, ServiceUnavailable.
        """
        if not built.usable:
            raise unusable(built.model.id, built.problems)
        catalog = self.live_catalog.catalog

        def save() -> str:
            change = self._change(author, why)
            return self.publisher.save_draft(built.model.id, built.files, change, catalog, replace=replace)

        return await self._change_models(save)

    async def publish(
        self, built: SubmittedModel, author: Author, why: str, *, replace: bool, base_version: str | None
    ) -> str:
        """Make a model live and return its version.

        Raises InvalidRequest if too little is known about it, and what `save_draft` raises.
        """
        self.require_complete(built)
        catalog = self.live_catalog.catalog

        def publish() -> str:
            return self.publisher.publish(
                built.model.id,
                built.files,
                self._change(author, why),
                catalog,
                replace=replace,
                base_version=base_version,
            )

        return await self._change_models(publish)

    def require_complete(self, built: SubmittedModel, *, is_tested_first: bool = False) -> None:
        """Raise InvalidRequest for a model that may not be live; a test run counts its results."""
        if not built.usable:
            raise unusable(built.model.id, built.problems)
        missing = dict(built.missing)
        if is_tested_first:
            missing.pop(BATCH, None)
        if missing:
            raise incomplete(built.model.id, missing)

    def is_live(self, id: str) -> bool:
        """Return whether a model of this id is offered to all callers."""
        return id in self.live_catalog.catalog

    async def publish_draft(self, id: str, author: Author, why: str) -> str:
        """Make a draft live and return its version. Raises NotFound, InvalidRequest, Forbidden."""
        catalog = self.live_catalog.catalog
        return await self._change_models(
            lambda: self.publisher.publish_draft(id, self._change(author, why), catalog, self._check_files)
        )

    async def rollback(self, id: str, version: str | None, author: Author, why: str) -> str:
        """Make an earlier version live and return it. Raises NotFound, Conflict, Forbidden."""
        catalog = self.live_catalog.catalog
        return await self._change_models(
            lambda: self.publisher.rollback(id, version, self._change(author, why), catalog, self._check_kept)
        )

    async def remove(self, id: str, author: Author, why: str, *, draft: bool) -> str:
        """Stop offering a model, or discard its draft. Raises NotFound, Conflict, Forbidden."""
        catalog, change = self.live_catalog.catalog, self._change(author, why)
        act = self.publisher.discard_draft if draft else self.publisher.remove
        return await self._change_models(lambda: act(id, change, catalog))

    async def find(self, id: str, author: Author) -> ModelState:
        """Return a model that an author may see. Raises NotFound, Forbidden if another author's is live."""
        state = await self._guard(lambda: self._read_state(id))
        if state is not None and not may_change(state.record, author):
            if state.live and state.record.owner is not None:
                raise Forbidden(
                    f"The model {id} belongs to another author: you can call it, but not open or change it",
                    code="model_not_yours",
                    param="id",
                )
            state = state.only_live() if state.record.owner is None else None
        if state is None or not (state.live or state.record.exists or state.draft):
            raise NotFound(f"There is no model {id[:100]!r}", code="model_not_found", param="id")
        return state

    async def read_version(self, id: str, version: str, author: Author) -> dict[str, str]:
        """Return the files of `live`, `draft` or a version. Raises NotFound, InvalidRequest."""
        state = await self.find(id, author)
        if version != "live" and not state.is_complete:
            raise NotFound(
                f"Versions of {id} are for its author",
                code="version_not_found",
                param="version",
            )
        catalog = self.live_catalog.catalog
        return await self._guard(lambda: self.publisher.read_any(id, version, catalog))

    async def diff(self, id: str, old: str, new: str, author: Author) -> str:
        """Return what differs between two versions, as a unified diff. Raises NotFound, InvalidRequest."""
        before, after = [await self.read_version(id, version, author) for version in (old, new)]
        return await asyncio.to_thread(diff_files, before, after, old, new)

    def _read_state(self, id: str) -> ModelState | None:
        files = self.publisher.files
        if not is_model_id(id):
            return None
        live = self.live_catalog.catalog
        shown = live[id] if id in live and live[id].id == id else None
        record, draft = files.read_record(id), files.read_draft(id)
        if shown is None and not record.exists and draft is None:
            return None
        return ModelState(
            id=id,
            record=record,
            live=shown.digest if shown else None,
            draft=digest_of(draft) if draft else None,
            is_own=files.read_live(id) is not None,
            versions=tuple(files.list_versions(id)),
        )

    def _check_files(self, files: Mapping[str, str], made: Mapping[str, int]) -> Model:
        """Raises InvalidRequest."""
        try:
            model = check_publishable(files, self.load_facts(), made)
            self.check_price(model)
        except CatalogError as error:
            raise InvalidRequest(str(error), code="invalid_manifest", param="manifest") from error
        return model

    def _check_kept(self, files: Mapping[str, str]) -> Model:
        """Check a version that was live before. Raises InvalidRequest."""
        try:
            model = parse_files(files, self.publisher.files.directory)
            self.check_price(model)
        except CatalogError as error:
            raise InvalidRequest(str(error), code="invalid_manifest", param="manifest") from error
        return model

    def _change(self, author: Author, why: str) -> Change:
        return Change(author=author, at=self.clock(), why=why)

    async def _change_models(self, change: Callable[[], str]) -> str:
        version = await self._guard(change)
        await self.live_catalog.refresh()
        return version

    async def _guard(self, act: Callable[[], ResultT]) -> ResultT:
        """Run file operations in a thread. Raises ServiceUnavailable if the directory cannot be used."""
        try:
            return await asyncio.to_thread(act)
        except CatalogError as error:
            raise Conflict(f"The model's files are damaged: {error}", code="damaged_model") from error
        except OSError as error:
            raise ServiceUnavailable(
                f"The directory of models cannot be used: {error}", code="models_unavailable"
            ) from error


def _build(submission: Submission, knowledge: Knowledge) -> SubmittedModel:
    """Make a model; an error of the graph beside the canvas names that. Raises as `build_model` does."""
    if submission.workflow is not None and submission.prompt is not None:
        try:
            copy_api_graph(submission.prompt)
        except InvalidWorkflow as error:
            raise InvalidRequest(f"`prompt`: {error}", code="invalid_workflow", param="prompt") from error
    return build_model(submission, knowledge)


def may_change(record: ModelRecord, author: Author) -> bool:
    """Return whether an author may see the versions of a model, and change it."""
    return author.is_operator or (record.exists and record.owner == author.account)


def diff_files(before: Mapping[str, str], after: Mapping[str, str], old: str, new: str) -> str:
    """Return a unified diff of manifest and graph; empty if they are equal."""
    lines: list[str] = []
    for name in _COMPARED_FILES:
        first, second = (files.get(name, "").splitlines(keepends=True) for files in (before, after))
        lines += difflib.unified_diff(first, second, f"{old}/{name}", f"{new}/{name}")
    return "".join(lines)
