"""Published models in a backup, and back."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.backup.models import ModelDifferences, compare_models, copy_models, restore_models
from orchestrator.catalog import Catalog
from orchestrator.catalog.publishing.accepted_licenses import AcceptedLicenses, LicenseRecord
from orchestrator.catalog.publishing.publisher import ModelPublisher
from orchestrator.catalog.publishing.shared_directory import list_shared_files
from tests.unit.catalog.test_publishing import ANNE, by, files_of


@pytest.fixture
def models(tmp_path: Path) -> ModelPublisher:
    publisher = ModelPublisher(tmp_path / "models")
    publisher.publish("hare", files_of("hare"), by(ANNE), Catalog([]), replace=False)
    publisher.save_draft("hare", files_of("hare", "two"), by(ANNE), Catalog([]), replace=True)
    (publisher.files.directory / "README.md").write_text("of the operator")
    return publisher


def read(directory: Path) -> dict[str, bytes]:
    return {path: (directory / path).read_bytes() for path in list_shared_files(directory)}


def test_models_drafts_and_versions_are_restored(models: ModelPublisher, tmp_path: Path) -> None:
    folder, target = tmp_path / "backup", tmp_path / "target"
    copied = copy_models(models.files.directory, folder)
    assert len(copied) == len(read(models.files.directory))
    restore_models(folder, target, tmp_path / "replaced")
    assert read(target) == read(models.files.directory)
    restored = ModelPublisher(target).files
    assert restored.read_record("hare") == models.files.read_record("hare")
    assert compare_models(folder, target) == ModelDifferences([], [], [])
    assert not (tmp_path / "replaced").exists()


def test_what_a_restore_replaces_is_kept(models: ModelPublisher, tmp_path: Path) -> None:
    folder, replaced = tmp_path / "backup", tmp_path / "replaced"
    copy_models(models.files.directory, folder)
    before = read(models.files.directory)
    models.publish("fox", files_of("fox"), by(ANNE), Catalog([]), replace=False)
    models.publish("hare", files_of("hare", "two"), by(ANNE), Catalog([]), replace=True)
    after = read(models.files.directory)
    differences = compare_models(folder, models.files.directory)
    assert "fox/model.toml" in differences.removed
    assert "hare/model.toml" in differences.changed
    assert ".drafts/hare/model.toml" in differences.new
    restore_models(folder, models.files.directory, replaced)
    assert read(models.files.directory) == before
    assert not models.files.live_folder("fox").exists()
    assert (models.files.directory / "README.md").exists()
    kept = {path: data for path, data in after.items() if before.get(path) != data}
    assert read(replaced) == kept


def test_what_was_accepted_of_licenses_is_restored_with_its_history(
    models: ModelPublisher, tmp_path: Path
) -> None:
    directory, folder, target = models.files.directory, tmp_path / "backup", tmp_path / "target"
    accepted = LicenseRecord(model="hare", licenses=["CC"], note="contract 7", by="ann", at="2026-11-26")
    revoked = LicenseRecord(model="hare", licenses=[], note="ended", by="ann", at="2026-11-27")
    AcceptedLicenses(directory).add(accepted)
    copy_models(directory, folder)
    AcceptedLicenses(directory).add(revoked)
    restore_models(folder, target, tmp_path / "replaced")
    assert list(AcceptedLicenses(target).records()) == [accepted]
    assert AcceptedLicenses(target).find("hare") == accepted
    restore_models(folder, directory, tmp_path / "kept")
    assert list(AcceptedLicenses(directory).records()) == [accepted]
    assert list(AcceptedLicenses(tmp_path / "kept").records()) == [accepted, revoked], "no record is lost"


def test_an_installation_without_models_of_its_own_has_none_in_its_backup(tmp_path: Path) -> None:
    assert copy_models(tmp_path / "missing", tmp_path / "backup") == []
    assert not (tmp_path / "backup").exists()
