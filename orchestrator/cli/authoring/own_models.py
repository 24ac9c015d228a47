"""The models of an installation for commands, which read and write their files as the service does."""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from orchestrator.app.resources import utc_now
from orchestrator.app.shared_models import fetch_published_models, open_publisher
from orchestrator.billing.price_files import check_model_priced, load_tariffs
from orchestrator.catalog import Catalog, CatalogError, Model
from orchestrator.catalog.publishing.draft_catalog import DraftCatalog, parse_files
from orchestrator.catalog.publishing.publisher import Change
from orchestrator.catalog.publishing.records import Author
from orchestrator.catalog.publishing.result_counts import describe_unmade_results
from orchestrator.catalog.publishing.submission import check_publishable
from orchestrator.cli.authoring.node_facts import load_node_facts
from orchestrator.cli.service_access.recording import record_change
from orchestrator.settings import Settings
from pricing.book import TariffRevisions


class OwnModels:
    """The models that ship, those of the operator over them, and drafts."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        fetch_published_models(settings)
        self.publisher = open_publisher(settings)

    @property
    def comfyui_dir(self) -> Path:
        """Where ComfyUI and its node packs are installed."""
        return self._settings.comfyui_dir

    @cached_property
    def offered(self) -> Catalog:
        """The models that callers get. Models that cannot be loaded are left out."""
        return Catalog([]).reload(self._settings.workflows_dir, self.check_price, self._overlay)[0]

    @cached_property
    def with_drafts(self) -> Catalog:
        """The models and all drafts; a draft of a live model is named `ID@draft`."""
        return self.load_drafts()[0]

    def load_drafts(self) -> tuple[Catalog, list[CatalogError]]:
        """Return the models with all drafts, and the errors of those that cannot be loaded."""
        drafts = DraftCatalog(self._overlay, self.check_price)
        errors = drafts.reload()
        return drafts.add_all_to(self.offered), errors

    def load_all(self) -> tuple[Catalog, list[CatalogError]]:
        """Return the models with all drafts, and the errors of models and drafts."""
        directory = self._settings.workflows_dir
        _, broken = Catalog([]).reload(directory, self.check_price, self._overlay)
        catalog, broken_drafts = self.load_drafts()
        return catalog, [*broken, *broken_drafts]

    def check_price(self, model: Model) -> None:
        """Raise CatalogError if the model has no price."""
        check_model_priced(model, self._tariffs, utc_now().date())

    def check_publishable(self, files: Mapping[str, str], made: Mapping[str, int]) -> Model:
        """Return the model with these files if it may be live; `made` are the results of its test runs.

        Raises InvalidRequest, CatalogError.
        """
        model = check_publishable(files, load_node_facts(), made)
        self.check_price(model)
        return model

    def describe_unmade_results(self, model: Model) -> str:
        """Return why callers must not pay for as many results as `batch` says; empty if they may.

        A template that cannot be rendered is another problem. Raises CatalogError for a damaged record.
        """
        made = self.publisher.files.read_record(model.id).made.get(model.digest)
        facts = {**model.source.node_facts, **load_node_facts()}
        try:
            return describe_unmade_results(model, facts, made)
        except CatalogError:
            return ""

    def check_kept(self, files: Mapping[str, str]) -> Model:
        """Return a version that was live before. Raises CatalogError."""
        model = parse_files(files, self.publisher.files.directory)
        self.check_price(model)
        return model

    def change(self, why: str = "", account: str | None = None) -> Change:
        """Return a change by the user of the command, or by the account of an author."""
        author = Author(account=account, name=f"{_user()} (command line)", is_operator=True)
        return Change(author=author, at=utc_now(), why=why)

    def save_draft(
        self, id: str, files: Mapping[str, str], author: str | None, *, replace: bool
    ) -> dict[str, str]:
        """Save a draft and return where. Raises Conflict, Forbidden, CatalogError, OSError."""
        change = self.change(account=author)
        version = self.publisher.save_draft(id, files, change, self.offered, replace=replace)
        return {"folder": str(self.publisher.files.draft_folder(id)), "version": version, "state": "draft"}

    def record(self, verb: str, id: str, version: str, why: str = "") -> None:
        """Note in the log of changes what was done with a model."""
        record_change(self._settings, f"models.{verb}", id, version=version, why=why)

    @cached_property
    def _tariffs(self) -> TariffRevisions:
        return load_tariffs(self._settings)

    @property
    def _overlay(self) -> Path:
        return self._settings.published_path


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "operator"
