"""Saves drafts, makes versions live, rolls back and removes models, one change of a directory at a time."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from orchestrator.catalog.example_files import EXAMPLES_NAME
from orchestrator.catalog.fixed_files import FIXED_FILES_NAME
from orchestrator.catalog.library import Catalog
from orchestrator.catalog.model import Model
from orchestrator.catalog.publishing.directory_lock import exclusive_lock
from orchestrator.catalog.publishing.records import Author, ModelRecord, VersionAction, VersionEvent
from orchestrator.catalog.publishing.version_files import (
    GRAPH_NAME,
    MANIFEST_NAME,
    VersionFiles,
    digest_of,
    is_model_id,
    read_files,
)
from orchestrator.errors import Conflict, Forbidden, InvalidRequest, NotFound

#: Fewest characters that name a version.
MIN_VERSION_PREFIX = 4
#: Checks the files before they become live, and returns the model. Raises InvalidRequest.
CheckFiles = Callable[[Mapping[str, str]], Model]
#: The same for a draft; the second argument are the results of test runs by version.
CheckDraft = Callable[[Mapping[str, str], Mapping[str, int]], Model]
_BY_FILES = "edited files"


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """Who changes a model, when and why."""

    author: Author
    at: datetime
    why: str = ""

    def to_event(self, action: VersionAction, version: str) -> VersionEvent:
        return VersionEvent(version=version, action=action, at=self.at, by=self.author.name, why=self.why)


class ModelPublisher:
    """Changes the models of one directory. All methods read and write files."""

    def __init__(self, directory: Path) -> None:
        self.files = VersionFiles(directory)

    def save_draft(
        self, id: str, files: Mapping[str, str], change: Change, offered: Catalog, *, replace: bool
    ) -> str:
        """Save a draft and return its version.

        Raises Conflict if the id is taken or, without `replace`, if the model exists; Forbidden for the
        model of another author; CatalogError, OSError.
        """
        with exclusive_lock(self.files.directory):
            record = self._may_change(id, change.author, offered)
            # Another process may have published it a moment ago.
            if not replace and (record.draft or self._find_live(id, offered) is not None):
                state = "a draft" if record.draft else "live"
                raise Conflict(
                    f"A model {id} exists already ({state}); replace it (`replace`), or choose another id",
                    code="model_exists",
                    param="id",
                )
            return self._save_draft(id, files, record, change)

    def publish(
        self,
        id: str,
        files: Mapping[str, str],
        change: Change,
        offered: Catalog,
        *,
        replace: bool,
        base_version: str | None = None,
    ) -> str:
        """Make files live as a new version and return it; a draft of the model is deleted.

        `base_version` is the live version that the caller has seen. Raises as `save_draft`, and Conflict if
        another version became live since.
        """
        with exclusive_lock(self.files.directory):
            record = self._may_change(id, change.author, offered)
            live = self._find_live(id, offered)
            if live is not None and not replace:
                raise Conflict(
                    f"A model {id} is live already; replace it (`replace`), or choose another id",
                    code="model_exists",
                    param="id",
                )
            _require_base(id, base_version, None if live is None else digest_of(live))
            version = self.files.keep_version(id, files)
            self._make_live(id, change.to_event(VersionAction.PUBLISH, version), record, live)
            self.files.delete_draft(id)
            return version

    def publish_draft(self, id: str, change: Change, offered: Catalog, check: CheckDraft) -> str:
        """Make the draft live, as its files are now, and return its version.

        Raises NotFound without a draft, InvalidRequest if `check` does, Forbidden, CatalogError, OSError.
        """
        with exclusive_lock(self.files.directory):
            record = self._may_change(id, change.author, offered)
            files = self._read_draft(id)
            check(files, record.made)
            version = self.files.keep_version(id, files)
            live = self._find_live(id, offered)
            self._make_live(id, change.to_event(VersionAction.PUBLISH, version), record, live)
            self.files.delete_draft(id)
            return version

    def rollback(
        self, id: str, version: str | None, change: Change, offered: Catalog, check: CheckFiles
    ) -> str:
        """Make an earlier version live again, by default the one before the live one; return its digest.

        Raises NotFound, Conflict if it is live or there is none, Forbidden, InvalidRequest, CatalogError.
        """
        with exclusive_lock(self.files.directory):
            record = self._may_change(id, change.author, offered)
            live = self._find_live(id, offered)
            current = None if live is None else digest_of(live)
            target = self._previous_live(id, record, current) if version is None else version
            target = self.resolve_version(id, target)
            if target == current:
                raise Conflict(f"Version {target[:12]} of {id} is live already", code="version_is_live")
            check(read_files(self.files.version_folder(id, target)))
            self._make_live(id, change.to_event(VersionAction.ROLLBACK, target), record, live)
            return target

    def remove(self, id: str, change: Change, offered: Catalog) -> str:
        """Stop offering a model and return its version; versions and history stay, and jobs go on.

        A model that overlays a shipped one uncovers that. Raises NotFound, Conflict for a shipped model,
        Forbidden, CatalogError, OSError.
        """
        with exclusive_lock(self.files.directory):
            record = self._may_change(id, change.author, offered)
            live = self.files.read_live(id)
            if live is None and id in offered:
                raise Conflict(
                    f"Model {id} is shipped and read-only; it can be overlaid, not removed",
                    code="model_is_shipped",
                )
            if live is None:
                raise NotFound(f"There is no live model {id}", code="model_not_found", param="id")
            record = self._keep_unknown(id, record, live, change.at)
            self.files.delete_live(id)
            event = change.to_event(VersionAction.REMOVE, digest_of(live))
            self.files.write_record(id, record.with_event(event, live=None))
            return event.version

    def discard_draft(self, id: str, change: Change, offered: Catalog) -> str:
        """Delete a draft and return its version. Raises NotFound, Forbidden, CatalogError, OSError."""
        with exclusive_lock(self.files.directory):
            record = self._may_change(id, change.author, offered)
            version = digest_of(self._read_draft(id))
            self.files.delete_draft(id)
            event = change.to_event(VersionAction.DISCARD, version)
            self.files.write_record(id, record.with_event(event, draft=None, draft_author=None))
            return version

    def record_results(self, id: str, version: str, count: int) -> None:
        """Note how many results a test run of a version made. Raises CatalogError, OSError."""
        with exclusive_lock(self.files.directory):
            record = self.files.read_record(id)
            if record.exists and record.made.get(version) != count:
                made = {**record.made, version: count}
                self.files.write_record(id, dataclasses.replace(record, made=made))

    def choose_operators_account(self, account_id: str) -> str:
        """Make an account that of operators, unless there is one; return that which is. Raises OSError."""
        with exclusive_lock(self.files.directory):
            chosen = self.files.read_operators_account()
            if chosen is None:
                self.files.write_operators_account(account_id)
            return chosen or account_id

    def resolve_version(self, id: str, text: str) -> str:
        """Return the digest of a version that is kept, named by its first characters.

        Raises NotFound, InvalidRequest if several versions begin so.
        """
        kept = self.files.list_versions(id)
        found = [version for version in kept if version.startswith(text)]
        if len(text) < MIN_VERSION_PREFIX or len(found) > 1:
            raise InvalidRequest(
                f"`version` must be {MIN_VERSION_PREFIX} or more characters that one version begins with"
                f" (got {text[:64]!r})",
                code="invalid_version",
                param="version",
            )
        if not found:
            known = ", ".join(version[:12] for version in kept) or "none"
            raise NotFound(
                f"Model {id} has no version {text[:64]!r}; kept are: {known}",
                code="version_not_found",
                param="version",
            )
        return found[0]

    def find_previous(self, id: str, offered: Catalog) -> str:
        """Return the version before the live one. Raises NotFound, Conflict if there is none."""
        live = self._find_live(id, offered)
        return self._previous_live(id, self.files.read_record(id), None if live is None else digest_of(live))

    def read_any(self, id: str, text: str, offered: Catalog) -> dict[str, str]:
        """Return the files of `live`, `draft` or a version. Raises NotFound, InvalidRequest, CatalogError."""
        if text == "draft":
            return self._read_draft(id)
        if text == "live":
            live = self._find_live(id, offered)
            if live is None:
                raise NotFound(f"Model {id} is not live", code="model_not_found", param="version")
            return live
        return self.files.read_version(id, self.resolve_version(id, text)) or {}

    def read_latest(self, id: str, offered: Catalog) -> dict[str, str] | None:
        """Return the files of the draft, or else of the live version; None without. Raises CatalogError."""
        if not is_model_id(id):
            return None
        return self.files.read_draft(id) or self._find_live(id, offered)

    def _save_draft(self, id: str, files: Mapping[str, str], record: ModelRecord, change: Change) -> str:
        version = self.files.keep_version(id, files)
        self.files.write_draft(id, files)
        event = change.to_event(VersionAction.DRAFT, version)
        author = change.author.account or record.owner
        changed = record.with_event(event, draft=version, draft_author=author)
        self.files.write_record(id, changed)
        return version

    def _make_live(
        self, id: str, event: VersionEvent, record: ModelRecord, live: Mapping[str, str] | None
    ) -> None:
        """Make the version of an event live in place of `live`."""
        if live is not None:
            record = self._keep_unknown(id, record, live, event.at)
        draft = {} if event.action is VersionAction.ROLLBACK else {"draft": None, "draft_author": None}
        # Before the files: what is live has an entry then, even if this process ends in between.
        self.files.write_record(id, record.with_event(event, live=event.version, **draft))
        self.files.make_live(id, event.version)

    def _keep_unknown(
        self, id: str, record: ModelRecord, live: Mapping[str, str], now: datetime
    ) -> ModelRecord:
        """Keep the live version if its files were not published, so that it can be rolled back to."""
        version = digest_of(live)
        if version in self.files.list_versions(id):
            return record
        self.files.keep_version(id, live)
        event = VersionEvent(version=version, action=VersionAction.FOUND, at=now, by=_BY_FILES)
        return record.with_event(event)

    def _may_change(self, id: str, author: Author, offered: Catalog) -> ModelRecord:
        """Return the record of a model that the author may change. Raises Conflict, Forbidden."""
        if not is_model_id(id):
            raise InvalidRequest(f"{id[:100]!r} is not the id of a model", code="invalid_id", param="id")
        self.files.finish_pending_locked()
        return self.check_author(id, author, offered)

    def check_author(self, id: str, author: Author, offered: Catalog) -> ModelRecord:
        """Return the record of a model that the author may change.

        Raises Conflict, Forbidden, CatalogError.
        """
        if id in offered and offered[id].id != id:
            raise Conflict(
                f"{id} is another name of the model {offered[id].id}; choose another id",
                code="model_id_taken",
                param="id",
            )
        record = self.files.read_record(id)
        is_free = not record.exists and id not in offered and self.files.read_live(id) is None
        if author.is_operator or is_free or (record.exists and record.owner == author.account):
            return record if record.exists else dataclasses.replace(record, owner=author.account)
        raise Forbidden(
            f"The model {id} belongs to another author; choose another id", code="model_not_yours", param="id"
        )

    def _find_live(self, id: str, offered: Catalog) -> dict[str, str] | None:
        """Return the files of the live version, of this directory or of a shipped model below it."""
        found = self.files.read_live(id)
        if found is None and id in offered and offered[id].id == id:
            return source_files(offered[id])
        return found

    def _read_draft(self, id: str) -> dict[str, str]:
        files = self.files.read_draft(id)
        if files is None:
            raise NotFound(f"There is no draft of {id}", code="draft_not_found", param="id")
        return files

    def _previous_live(self, id: str, record: ModelRecord, current: str | None) -> str:
        actions = {VersionAction.PUBLISH, VersionAction.FOUND}
        published = list(dict.fromkeys(event.version for event in record.events if event.action in actions))
        if not published and current is None:
            raise NotFound(f"There is no model {id}", code="model_not_found", param="id")
        if current is None:
            # The version that was live when the model was removed, also after a rollback.
            removed = [event.version for event in record.events if event.action is VersionAction.REMOVE]
            published = removed[-1:] or published
        earlier = published[: published.index(current)] if current in published else published
        if not earlier:
            raise Conflict(f"Model {id} has no earlier version", code="no_earlier_version")
        return earlier[-1]


def source_files(model: Model) -> dict[str, str]:
    """Return the files that a model was read from."""
    files = {MANIFEST_NAME: model.source.manifest, GRAPH_NAME: model.source.graph}
    if model.source.node_facts:
        files["nodes.json"] = json.dumps(model.source.node_facts, indent=1) + "\n"
    if model.source.examples:
        files[EXAMPLES_NAME] = model.source.examples
    if model.source.fixed_files:
        files[FIXED_FILES_NAME] = model.source.fixed_files
    return files


def _require_base(id: str, expected: str | None, live: str | None) -> None:
    if expected is not None and (live is None or not live.startswith(expected)):
        shown = "nothing" if live is None else f"version {live[:12]}"
        raise Conflict(
            f"The live version of {id} has changed since: it is {shown}, not {expected[:12]}",
            code="version_conflict",
            param="base_version",
        )
