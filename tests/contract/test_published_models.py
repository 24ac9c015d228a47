"""Several processes publish models in a PostgreSQL database, each with a copy of the files."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrator.catalog import Catalog
from orchestrator.catalog.publishing.publisher import ModelPublisher
from orchestrator.catalog.publishing.records import VersionAction
from orchestrator.catalog.publishing.shared_directory import SharedDirectory, list_shared_files
from orchestrator.catalog.publishing.shared_publisher import SharedModelPublisher
from orchestrator.errors import Conflict, InvalidRequest, ServiceUnavailable
from orchestrator.store.postgres.published_files import PublishedFiles
from tests.support.postgres import database_url
from tests.unit.catalog.test_publishing import ANNE, BOB, SHIPPED, accept, by, files_of, refuse


class Process:
    """A process with a copy of the published models."""

    def __init__(self, directory: Path, url: str) -> None:
        self.directory = directory
        self.shared = SharedDirectory(directory, PublishedFiles(url))
        self.publisher = SharedModelPublisher(self.shared)
        self.shared.prepare()

    def publish(self, id: str, text: str = "one", *, replace: bool = True) -> str:
        offered = Catalog.load(SHIPPED, self.directory)
        return self.publisher.publish(id, files_of(id, text), by(ANNE), offered, replace=replace)

    def files(self) -> dict[str, bytes]:
        """Return the shared files of the copy."""
        return {path: (self.directory / path).read_bytes() for path in list_shared_files(self.directory)}

    def manifest(self, id: str) -> Path:
        return self.directory / id / "model.toml"


@pytest.fixture
def url(tmp_path: Path) -> str:
    return database_url(tmp_path)


@pytest.fixture
def one(tmp_path: Path, url: str) -> Process:
    return Process(tmp_path / "one", url)


@pytest.fixture
def two(tmp_path: Path, url: str) -> Process:
    return Process(tmp_path / "two", url)


def test_what_one_process_changes_reaches_the_others(one: Process, two: Process) -> None:
    first = one.publish("hare")
    offered = Catalog.load(SHIPPED, one.directory)
    draft = one.publisher.save_draft("hare", files_of("hare", "two"), by(ANNE), offered, replace=True)
    assert one.publisher.choose_operators_account("acct_operators") == "acct_operators"
    two.shared.synchronize()
    assert two.files() == one.files()
    assert two.shared.version == one.shared.version

    published = two.publisher.publish_draft("hare", by(ANNE), Catalog.load(SHIPPED, two.directory), accept)
    assert published == draft
    assert two.publisher.choose_operators_account("acct_other") == "acct_operators"
    one.shared.synchronize()
    assert one.publisher.rollback("hare", None, by(ANNE), offered, accept) == first
    two.shared.synchronize()
    assert two.publisher.remove("hare", by(ANNE), Catalog.load(SHIPPED, two.directory)) == first
    one.shared.synchronize()
    assert not one.manifest("hare").exists()
    assert one.files() == two.files()
    actions = [event.action for event in one.publisher.files.read_record("hare").events]
    assert actions == [
        VersionAction.PUBLISH,
        VersionAction.DRAFT,
        VersionAction.PUBLISH,
        VersionAction.ROLLBACK,
        VersionAction.REMOVE,
    ]


def test_the_models_survive_the_disk_of_the_process_that_published_them(one: Process, url: str) -> None:
    one.publish("hare")
    before = one.files()
    shutil.rmtree(one.directory)
    assert Process(one.directory, url).files() == before


def test_a_process_that_knows_nothing_of_a_model_yet_does_not_replace_it(one: Process, two: Process) -> None:
    one.publish("hare")
    with pytest.raises(Conflict):
        two.publish("hare", "two", replace=False)
    nothing = Catalog.load(SHIPPED)
    with pytest.raises(Conflict):
        two.publisher.save_draft("hare", files_of("hare"), by(ANNE), nothing, replace=False)
    assert two.files() == one.files()


def test_of_many_at_once_one_gets_the_id(one: Process, two: Process) -> None:
    def publish(number: int) -> bool:
        try:
            (one, two)[number % 2].publish("hare", str(number), replace=False)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(publish, range(6))) == 1
    for process in (one, two):
        process.shared.synchronize()
    assert one.files() == two.files()


def test_what_is_refused_changes_no_copy(one: Process, two: Process) -> None:
    one.publish("hare")
    offered = Catalog.load(SHIPPED, one.directory)
    one.publisher.save_draft("hare", files_of("hare", "two"), by(ANNE), offered, replace=True)
    before = one.files()
    with pytest.raises(InvalidRequest):
        one.publisher.publish_draft("hare", by(ANNE), offered, refuse)
    with pytest.raises(InvalidRequest):
        one.publisher.remove("../hare", by(BOB), offered)
    one.shared.synchronize()
    two.shared.synchronize()
    assert one.files() == two.files() == before


def test_what_cannot_be_stored_has_not_happened(one: Process) -> None:
    one.publish("hare")
    before = one.files()
    lost = SharedModelPublisher(
        SharedDirectory(one.directory, PublishedFiles("postgresql://x@127.0.0.1:1/x"))
    )
    with pytest.raises(ServiceUnavailable):
        lost.publish("hare", files_of("hare", "two"), by(ANNE), Catalog([]), replace=True)
    assert one.files() == before


def test_a_copy_that_ended_before_its_files_were_written_is_completed(one: Process, tmp_path: Path) -> None:
    one.publish("hare")
    earlier = tmp_path / "earlier"
    shutil.copytree(one.directory, earlier)
    one.publish("hare", "two")
    after = one.files()
    shutil.rmtree(one.directory)
    earlier.rename(one.directory)
    # One file was written, the others were not.
    (one.directory / "hare" / "model.toml").write_bytes(after["hare/model.toml"])
    one.shared.synchronize()
    assert one.files() == after


def test_files_that_are_edited_by_hand_reach_the_others(one: Process, two: Process) -> None:
    one.publish("hare")
    one.publish("fox")
    two.shared.synchronize()
    one.manifest("hare").write_text(files_of("hare", "edited")["model.toml"])
    shutil.rmtree(one.directory / "fox")
    (one.directory / "prices.toml").write_text('[models]\ngold = "0.5"\n')
    one.shared.synchronize()
    two.shared.synchronize()
    assert two.files() == one.files()
    assert "edited" in two.manifest("hare").read_text()
    assert not two.manifest("fox").parent.exists()
    assert (two.directory / "prices.toml").exists()


def test_an_edit_of_what_another_process_has_published_meanwhile_is_lost_and_logged(
    one: Process, two: Process, caplog: pytest.LogCaptureFixture
) -> None:
    one.publish("hare")
    two.shared.synchronize()
    two.manifest("hare").write_text(files_of("hare", "edited")["model.toml"])
    one.publish("hare", "two")
    two.shared.synchronize()
    assert two.files() == one.files()
    assert str(two.manifest("hare")) in caplog.text


def test_the_models_of_an_installation_move_into_its_new_database(one: Process, tmp_path: Path) -> None:
    """A directory that was used without PostgreSQL, and one that was the copy of another database."""
    alone = ModelPublisher(tmp_path / "alone")
    alone.publish("fox", files_of("fox"), by(ANNE), Catalog.load(SHIPPED), replace=False)
    one.publish("hare")
    for directory, id in ((alone.files.directory, "fox"), (one.directory, "hare")):
        moved = Process(directory, database_url(tmp_path / f"database of {id}"))
        assert moved.manifest(id).exists()
        other = Process(tmp_path / f"other {id}", database_url(tmp_path / f"database of {id}"))
        assert other.files() == moved.files()


def test_what_was_published_in_the_directory_of_models_moves_into_an_empty_database(
    tmp_path: Path, url: str
) -> None:
    earlier = ModelPublisher(tmp_path / "models")
    version = earlier.publish("fox", files_of("fox"), by(ANNE), Catalog.load(SHIPPED), replace=False)
    (tmp_path / "models" / "prices.toml").write_text('[models]\ngold = "0.5"\n')
    shutil.copytree(SHIPPED / "test-image", tmp_path / "models" / "test-image")
    first = SharedDirectory(tmp_path / "one", PublishedFiles(url), tmp_path / "models")
    first.prepare()
    moved = ModelPublisher(tmp_path / "one").files
    assert moved.read_record("fox") == earlier.files.read_record("fox")
    assert moved.read_version("fox", version) == earlier.files.read_version("fox", version)
    assert (tmp_path / "one" / "prices.toml").exists()
    assert not (tmp_path / "one" / "test-image").exists()
    # Later the database counts: a model that was removed does not come back.
    offered = Catalog.load(tmp_path / "models", tmp_path / "one")
    SharedModelPublisher(first).remove("fox", by(ANNE), offered)
    SharedDirectory(tmp_path / "two", PublishedFiles(url), tmp_path / "models").prepare()
    assert not (tmp_path / "two" / "fox").exists()
