"""The drafts of a directory of models, and the earlier versions that jobs refer to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from orchestrator.catalog.errors import CatalogError
from orchestrator.catalog.example_files import EXAMPLES_NAME
from orchestrator.catalog.fixed_files import FIXED_FILES_NAME
from orchestrator.catalog.library import Catalog, load_model
from orchestrator.catalog.model import Model
from orchestrator.catalog.publishing.version_files import GRAPH_NAME, MANIFEST_NAME, VersionFiles

NODE_FACTS_NAME = "nodes.json"
_DRAFT_FILES = (MANIFEST_NAME, GRAPH_NAME, NODE_FACTS_NAME, EXAMPLES_NAME, FIXED_FILES_NAME)
#: What follows the id of a model in the name of its draft.
DRAFT_SUFFIX = "@draft"
#: Versions of earlier jobs that stay loaded.
_MAX_LOADED_VERSIONS = 256


@dataclass(frozen=True, slots=True)
class Draft:
    """A model that only its author and operators may call."""

    model: Model
    #: Account of its author; None for a draft of an operator.
    author: str | None


class DraftCatalog:
    """The drafts below a directory. `reload` is called while no process changes them."""

    def __init__(self, directory: Path | None, check_model: Callable[[Model], None]) -> None:
        self._files = None if directory is None else VersionFiles(directory)
        self._check_model = check_model
        self.drafts: list[Draft] = []
        self._operators: str | None = None
        self._visible: dict[str, tuple[Catalog, Catalog]] = {}
        self._load_version = lru_cache(maxsize=_MAX_LOADED_VERSIONS)(self._read_version)

    def list_files(self) -> Iterator[Path]:
        """Yield the files on which the drafts depend."""
        if self._files is None:
            return
        yield self._files.operators_file
        for folder in self._files.list_drafts():
            yield from (folder / name for name in _DRAFT_FILES)
            yield self._files.record_file(folder.name)

    def reload(self) -> list[CatalogError]:
        """Load the drafts, and return the errors of those that are invalid; they are left out."""
        if self._files is None:
            return []
        drafts, errors = [], []
        loaded = {draft.model.id: draft.model for draft in self.drafts}
        for folder in self._files.list_drafts():
            try:
                model = load_model(folder)
                old = loaded.get(model.id)
                model = old if old is not None and old.source == model.source else model
                self._check_model(model)
                drafts.append(Draft(model, self._files.read_record(model.id).draft_author))
            except CatalogError as error:
                errors.append(error)
        self.drafts, self._visible = drafts, {}
        self._operators = self._files.read_operators_account()
        return errors

    def add_to(self, catalog: Catalog, account_id: str) -> Catalog:
        """Return the catalog with the drafts of an account; that of operators has all of them."""
        is_operator = account_id == self._operators
        mine = [draft.model for draft in self.drafts if is_operator or draft.author == account_id]
        if not mine:
            return catalog
        base, visible = self._visible.get(account_id, (None, catalog))
        if base is not catalog:
            visible = catalog.with_drafts({f"{model.id}{DRAFT_SUFFIX}": model for model in mine})
            self._visible[account_id] = catalog, visible
        return visible

    def add_all_to(self, catalog: Catalog) -> Catalog:
        """Return the catalog with all drafts, for operators."""
        drafts = {f"{draft.model.id}{DRAFT_SUFFIX}": draft.model for draft in self.drafts}
        return catalog.with_drafts(drafts) if drafts else catalog

    def find(self, id: str) -> Model | None:
        """Return the draft of a model."""
        return next((draft.model for draft in self.drafts if draft.model.id == id), None)

    def keeps(self, id: str, version: str) -> bool:
        """Return whether the files of a version are kept."""
        return self._files is not None and self._files.version_folder(id, version).is_dir()

    def find_version(self, id: str, version: str) -> Model | None:
        """Return a version that is kept, or a draft whose files were edited since; None for another one."""
        draft = self.find(id)
        if draft is not None and draft.digest == version:
            return draft
        with suppress(CatalogError, FileNotFoundError):
            return self._load_version(id, version)
        return None

    def _read_version(self, id: str, version: str) -> Model:
        """Raises FileNotFoundError for a version that is not kept, CatalogError."""
        files = self._files.read_version(id, version) if self._files else None
        if files is None or self._files is None:
            raise FileNotFoundError(version)
        return parse_files(files, self._files.version_folder(id, version))


def parse_files(files: Mapping[str, str], folder: Path, before: Model | None = None) -> Model:
    """Return the model with these files; `folder` only names them in errors. Raises CatalogError.

    A model with the same graph as the one `before` takes over that.
    """
    for name in (MANIFEST_NAME, GRAPH_NAME):
        if name not in files:
            raise CatalogError("the file is missing", file=folder / name)
    facts = files.get(NODE_FACTS_NAME) or json.dumps({})
    return Model.parse(
        files[MANIFEST_NAME],
        files[GRAPH_NAME],
        folder,
        facts,
        files.get(EXAMPLES_NAME, ""),
        fixed_files_text=files.get(FIXED_FILES_NAME, ""),
        before=before,
    )
