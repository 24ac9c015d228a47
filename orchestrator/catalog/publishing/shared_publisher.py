"""Changes published models that several processes share."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.catalog.library import Catalog
from orchestrator.catalog.publishing.publisher import Change, CheckDraft, CheckFiles, ModelPublisher
from orchestrator.catalog.publishing.shared_directory import SharedDirectory
from orchestrator.catalog.publishing.version_files import is_model_id
from orchestrator.errors import InvalidRequest


class SharedModelPublisher(ModelPublisher):
    """Makes each change to a copy of one model, which becomes that of all processes when it is stored.

    Its methods raise ServiceUnavailable too, while the database cannot be used.
    """

    def __init__(self, shared: SharedDirectory) -> None:
        super().__init__(shared.directory)
        self._shared = shared

    def save_draft(
        self, id: str, files: Mapping[str, str], change: Change, offered: Catalog, *, replace: bool
    ) -> str:
        with self._shared.changing(_checked(id)) as copy:
            return ModelPublisher(copy).save_draft(id, files, change, offered, replace=replace)

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
        with self._shared.changing(_checked(id)) as copy:
            return ModelPublisher(copy).publish(
                id, files, change, offered, replace=replace, base_version=base_version
            )

    def publish_draft(self, id: str, change: Change, offered: Catalog, check: CheckDraft) -> str:
        with self._shared.changing(_checked(id)) as copy:
            return ModelPublisher(copy).publish_draft(id, change, offered, check)

    def rollback(
        self, id: str, version: str | None, change: Change, offered: Catalog, check: CheckFiles
    ) -> str:
        with self._shared.changing(_checked(id)) as copy:
            return ModelPublisher(copy).rollback(id, version, change, offered, check)

    def remove(self, id: str, change: Change, offered: Catalog) -> str:
        with self._shared.changing(_checked(id)) as copy:
            return ModelPublisher(copy).remove(id, change, offered)

    def discard_draft(self, id: str, change: Change, offered: Catalog) -> str:
        with self._shared.changing(_checked(id)) as copy:
            return ModelPublisher(copy).discard_draft(id, change, offered)

    def record_results(self, id: str, version: str, count: int) -> None:
        with self._shared.changing(_checked(id)) as copy:
            ModelPublisher(copy).record_results(id, version, count)

    def choose_operators_account(self, account_id: str) -> str:
        with self._shared.changing() as copy:
            return ModelPublisher(copy).choose_operators_account(account_id)


def _checked(id: str) -> str:
    """Return an id that names a folder. Raises InvalidRequest."""
    if not is_model_id(id):
        raise InvalidRequest(f"{id[:100]!r} is not the id of a model", code="invalid_id", param="id")
    return id
