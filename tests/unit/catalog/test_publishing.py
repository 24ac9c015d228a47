"""Drafts, versions and what becomes of the files of a model that is published."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

from orchestrator.catalog import Catalog, Model, load_model
from orchestrator.catalog.live_catalog import LiveCatalog
from orchestrator.catalog.publishing.draft_catalog import parse_files
from orchestrator.catalog.publishing.publisher import Change, ModelPublisher
from orchestrator.catalog.publishing.records import Author, VersionAction
from orchestrator.catalog.publishing.version_files import (
    VERSIONS_FOLDER,
    VersionFiles,
    digest_of,
    read_files,
)
from orchestrator.errors import Conflict, Forbidden, InvalidRequest, NotFound
from tests.support.service import ROOT

SHIPPED = ROOT / "tests" / "workflows"
BASE = read_files(SHIPPED / "test-image")
ANNE = Author(account="acct_anne", name="key anne", is_operator=False)
BOB = Author(account="acct_bob", name="key bob", is_operator=False)
OPERATOR = Author(account=None, name="operator", is_operator=True)
_MINUTES = count()


def files_of(id: str, description: str = "one") -> dict[str, str]:
    manifest = BASE["model.toml"].replace('id = "test-image"', f'id = "{id}"')
    return BASE | {"model.toml": manifest.replace("A picture of one colour", description)}


def by(author: Author, why: str = "") -> Change:
    at = datetime(2026, 7, 1, tzinfo=UTC) + timedelta(minutes=next(_MINUTES))
    return Change(author=author, at=at, why=why)


def accept(files: Mapping[str, str], made: Mapping[str, int] | None = None) -> Model:
    return parse_files(files, Path("draft"))


def refuse(files: Mapping[str, str], made: Mapping[str, int] | None = None) -> Model:
    raise InvalidRequest("incomplete")


@pytest.fixture
def publisher(tmp_path: Path) -> ModelPublisher:
    return ModelPublisher(tmp_path / "own")


def offered(publisher: ModelPublisher) -> Catalog:
    return Catalog.load(SHIPPED, publisher.files.directory)


def publish(publisher: ModelPublisher, files: Mapping[str, str], author: Author = ANNE, why: str = "") -> str:
    id = accept(files).id
    return publisher.publish(id, files, by(author, why), offered(publisher), replace=True)


def live_version(publisher: ModelPublisher, id: str) -> str:
    return load_model(publisher.files.live_folder(id)).digest


def test_a_draft_is_not_offered_until_it_is_published(publisher: ModelPublisher) -> None:
    version = publisher.save_draft("hare", files_of("hare"), by(ANNE), offered(publisher), replace=False)
    assert "hare" not in offered(publisher)
    assert publisher.publish_draft("hare", by(ANNE, "ready"), offered(publisher), accept) == version
    assert offered(publisher)["hare"].digest == version
    assert publisher.files.list_drafts() == []
    record = publisher.files.read_record("hare")
    assert (record.owner, record.live, record.draft) == ("acct_anne", version, None)
    assert [(event.action, event.by, event.why) for event in record.events] == [
        (VersionAction.DRAFT, "key anne", ""),
        (VersionAction.PUBLISH, "key anne", "ready"),
    ]


def test_an_edited_draft_is_published_as_its_files_are(publisher: ModelPublisher) -> None:
    publisher.save_draft("hare", files_of("hare"), by(ANNE), offered(publisher), replace=False)
    edited = files_of("hare", "edited by hand")
    (publisher.files.draft_folder("hare") / "model.toml").write_text(edited["model.toml"])
    version = publisher.publish_draft("hare", by(OPERATOR), offered(publisher), accept)
    assert version == digest_of(edited) == live_version(publisher, "hare")


def test_a_draft_that_is_refused_stays_a_draft(publisher: ModelPublisher) -> None:
    publisher.save_draft("hare", files_of("hare"), by(ANNE), offered(publisher), replace=False)
    with pytest.raises(InvalidRequest):
        publisher.publish_draft("hare", by(ANNE), offered(publisher), refuse)
    assert "hare" not in offered(publisher)
    assert len(publisher.files.list_drafts()) == 1


def test_rejects_an_id_that_exists_unless_it_is_to_be_replaced(publisher: ModelPublisher) -> None:
    publisher.save_draft("hare", files_of("hare"), by(ANNE), offered(publisher), replace=False)
    with pytest.raises(Conflict, match="a draft"):
        publisher.save_draft("hare", files_of("hare"), by(ANNE), offered(publisher), replace=False)
    publish(publisher, files_of("hare"))
    with pytest.raises(Conflict, match="live"):
        publisher.publish("hare", files_of("hare", "two"), by(ANNE), offered(publisher), replace=False)
    publisher.save_draft("hare", files_of("hare", "two"), by(ANNE), offered(publisher), replace=True)


def test_a_model_belongs_to_its_first_author_and_to_operators(publisher: ModelPublisher) -> None:
    publish(publisher, files_of("hare"))
    models = offered(publisher)
    with pytest.raises(Forbidden):
        publisher.publish("hare", files_of("hare", "two"), by(BOB), models, replace=True)
    with pytest.raises(Forbidden):
        publisher.save_draft("hare", files_of("hare", "two"), by(BOB), models, replace=True)
    with pytest.raises(Forbidden):
        publisher.remove("hare", by(BOB), models)
    with pytest.raises(Forbidden):
        publisher.rollback("hare", None, by(BOB), models, accept)
    publish(publisher, files_of("hare", "two"), OPERATOR)
    publish(publisher, files_of("hare", "three"), ANNE)
    with pytest.raises(Forbidden):
        publisher.publish("test-video", files_of("test-video"), by(ANNE), models, replace=True)


def test_of_two_authors_at_once_one_gets_the_id(publisher: ModelPublisher) -> None:
    models = offered(publisher)

    def save(author: Author) -> str:
        try:
            publisher.save_draft("hare", files_of("hare", author.name), by(author), models, replace=True)
        except Forbidden:
            return "refused"
        return author.name

    for _ in range(5):
        with ThreadPoolExecutor(8) as threads:
            results = list(threads.map(save, [ANNE, BOB] * 4))
        record = publisher.files.read_record("hare")
        winner = ANNE if record.owner == ANNE.account else BOB
        assert set(results) == {"refused", winner.name}
        assert winner.name in (publisher.files.draft_folder("hare") / "model.toml").read_text()
        shutil.rmtree(publisher.files.directory)


def test_rejects_another_name_of_a_model_as_id(publisher: ModelPublisher, tmp_path: Path) -> None:
    shipped = tmp_path / "shipped" / "test-image"
    shipped.mkdir(parents=True)
    for name, text in BASE.items():
        (shipped / name).write_text(text.replace('name = "Test', 'aliases = ["hare"]\nname = "Test'))
    models = Catalog.load(shipped.parent)
    with pytest.raises(Conflict, match="another name of the model test-image"):
        publisher.save_draft("hare", files_of("hare"), by(OPERATOR), models, replace=True)


@pytest.mark.parametrize("id", ["", ".versions", "../x", "a/b", "A", "x" * 101, "..", "a\n"])
def test_rejects_what_is_no_model_id(publisher: ModelPublisher, id: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest):
        publisher.save_draft(id, files_of("hare"), by(OPERATOR), offered(publisher), replace=True)
    assert {path.name for path in tmp_path.iterdir()} <= {"own"}


def test_rolls_back_step_by_step_and_to_a_named_version(publisher: ModelPublisher) -> None:
    one, two, three = (publish(publisher, files_of("hare", text)) for text in ("one", "two", "three"))
    for expected in (two, one):
        assert publisher.rollback("hare", None, by(ANNE), offered(publisher), accept) == expected
        assert live_version(publisher, "hare") == expected
    with pytest.raises(Conflict, match="no earlier version"):
        publisher.rollback("hare", None, by(ANNE), offered(publisher), accept)
    assert publisher.rollback("hare", three[:8], by(ANNE), offered(publisher), accept) == three
    with pytest.raises(Conflict, match="live already"):
        publisher.rollback("hare", three, by(ANNE), offered(publisher), accept)
    with pytest.raises(NotFound, match="kept are"):
        publisher.rollback("hare", "0000", by(ANNE), offered(publisher), accept)
    with pytest.raises(InvalidRequest, match="4 or more"):
        publisher.rollback("hare", one[:2], by(ANNE), offered(publisher), accept)


def test_rejects_a_base_version_that_is_no_longer_live(publisher: ModelPublisher) -> None:
    one = publish(publisher, files_of("hare", "one"))
    publish(publisher, files_of("hare", "two"))
    with pytest.raises(Conflict, match="has changed"):
        publisher.publish(
            "hare",
            files_of("hare", "three"),
            by(ANNE),
            offered(publisher),
            replace=True,
            base_version=one,
        )


def test_an_overlay_of_a_shipped_model_can_be_rolled_back_and_removed(publisher: ModelPublisher) -> None:
    shipped = Catalog.load(SHIPPED)["test-image"].digest
    before = {path: path.read_bytes() for path in SHIPPED.rglob("*") if path.is_file()}
    mine = publish(publisher, files_of("test-image", "mine"), OPERATOR)
    assert offered(publisher)["test-image"].digest == mine
    assert publisher.rollback("test-image", None, by(OPERATOR), offered(publisher), accept) == shipped
    publish(publisher, files_of("test-image", "mine"), OPERATOR)
    publisher.remove("test-image", by(OPERATOR), offered(publisher))
    assert offered(publisher)["test-image"].digest == shipped
    with pytest.raises(Conflict, match="read-only"):
        publisher.remove("test-image", by(OPERATOR), offered(publisher))
    assert {path: path.read_bytes() for path in SHIPPED.rglob("*") if path.is_file()} == before


def test_files_that_were_edited_by_hand_are_kept_as_a_version(publisher: ModelPublisher) -> None:
    publish(publisher, files_of("hare"))
    edited = files_of("hare", "edited by hand")
    (publisher.files.live_folder("hare") / "model.toml").write_text(edited["model.toml"])
    publish(publisher, files_of("hare", "two"))
    actions = [event.action for event in publisher.files.read_record("hare").events]
    assert actions == [VersionAction.PUBLISH, VersionAction.FOUND, VersionAction.PUBLISH]
    assert publisher.rollback("hare", None, by(ANNE), offered(publisher), accept) == digest_of(edited)


def test_a_removed_model_keeps_its_versions(publisher: ModelPublisher) -> None:
    version = publish(publisher, files_of("hare"))
    publisher.remove("hare", by(ANNE), offered(publisher))
    assert "hare" not in offered(publisher)
    with pytest.raises(Forbidden):
        publisher.save_draft("hare", files_of("hare"), by(BOB), offered(publisher), replace=True)
    assert publisher.rollback("hare", None, by(ANNE), offered(publisher), accept) == version


def test_a_removed_model_comes_back_as_it_was_live_last(publisher: ModelPublisher) -> None:
    one, _, _ = (publish(publisher, files_of("hare", text)) for text in ("one", "two", "three"))
    for _ in range(2):
        publisher.rollback("hare", None, by(ANNE), offered(publisher), accept)
    publisher.remove("hare", by(ANNE), offered(publisher))
    assert publisher.find_previous("hare", offered(publisher)) == one
    assert publisher.rollback("hare", None, by(ANNE), offered(publisher), accept) == one
    with pytest.raises(Conflict, match="no earlier version"):
        publisher.rollback("hare", None, by(ANNE), offered(publisher), accept)


@pytest.mark.parametrize("state", ["old", "gone"])
def test_what_an_ended_process_began_to_publish_is_completed(publisher: ModelPublisher, state: str) -> None:
    publish(publisher, files_of("hare", "one"))
    files = VersionFiles(publisher.files.directory)
    two = files.keep_version("hare", files_of("hare", "two"))
    (files.directory / VERSIONS_FOLDER / "hare" / "pending").write_text(two)
    if state == "gone":
        shutil.rmtree(files.live_folder("hare"))
    live = LiveCatalog(SHIPPED, lambda model: None, published=files.directory)
    assert live.catalog["hare"].digest == two
    assert not (files.directory / VERSIONS_FOLDER / "hare" / "pending").exists()


def test_readers_never_see_a_model_missing_while_it_is_replaced(publisher: ModelPublisher) -> None:
    publish(publisher, files_of("hare", "0"))

    def replace_often() -> None:
        for number in range(1, 12):
            publish(publisher, files_of("hare", str(number)))

    async def watch() -> int:
        live, loads = LiveCatalog(SHIPPED, lambda model: None, published=publisher.files.directory), 0
        writing = asyncio.create_task(asyncio.to_thread(replace_often))
        while not writing.done():
            await live.refresh()
            assert "hare" in live.catalog
            assert live.rejections == []
            loads += 1
        await writing
        return loads

    assert asyncio.run(watch()) > 0


def test_drafts_are_visible_to_their_author_and_operators_only(publisher: ModelPublisher) -> None:
    publisher.files.write_operators_account("acct_operators")
    publisher.save_draft("hare", files_of("hare"), by(ANNE), offered(publisher), replace=False)
    publisher.save_draft(
        "test-image", files_of("test-image", "next"), by(OPERATOR), offered(publisher), replace=True
    )
    live = LiveCatalog(SHIPPED, lambda model: None, published=publisher.files.directory)
    mine, others = live.visible_to("acct_anne"), live.visible_to("acct_bob")
    assert {"hare", "hare@draft"} <= {name for name in ("hare", "hare@draft") if name in mine}
    assert "hare" not in others
    assert "test-image@draft" not in mine
    operators = live.visible_to("acct_operators")
    assert "hare" in operators
    assert operators["test-image@draft"].description.startswith("next")
    assert operators["test-image"] is live.catalog["test-image"]
    assert "hare" in [name for name, _ in mine.offers()]
    assert "test-image@draft" in [name for name, _ in operators.offers()]
    assert "hare" not in [name for name, _ in live.catalog.offers()]
    assert "hare" not in live.catalog


def test_an_author_calls_the_draft_that_an_operator_makes_of_its_model(publisher: ModelPublisher) -> None:
    publish(publisher, files_of("hare"))
    publisher.save_draft(
        "hare", files_of("hare", "by an operator"), by(OPERATOR), offered(publisher), replace=True
    )
    live = LiveCatalog(SHIPPED, lambda model: None, published=publisher.files.directory)
    assert live.visible_to("acct_anne")["hare@draft"].description.startswith("by an operator")
    assert publisher.files.read_record("hare").owner == "acct_anne"


def test_a_draft_is_served_where_its_name_is_asked_for(publisher: ModelPublisher) -> None:
    publish(publisher, files_of("hare"))
    publisher.save_draft("hare", files_of("hare", "next"), by(ANNE), offered(publisher), replace=True)
    publisher.save_draft("fox", files_of("fox"), by(ANNE), offered(publisher), replace=True)
    live = LiveCatalog(SHIPPED, lambda model: None, published=publisher.files.directory)
    mine = live.visible_to("acct_anne")
    # A dialect chooses a model for the task of a request by its id.
    assert mine.model_of_request("hare@draft", "hare").description.startswith("next")
    assert mine.model_of_request("hare", "hare") is live.catalog["hare"]
    assert mine.model_of_request("fox", "fox").id == "fox"
    # A request without a model gets no draft.
    assert "fox" not in [model.id for model in mine]


def test_earlier_versions_are_found_by_the_jobs_that_name_them(publisher: ModelPublisher) -> None:
    one = publish(publisher, files_of("hare", "one"))
    two = publish(publisher, files_of("hare", "two"))
    live = LiveCatalog(SHIPPED, lambda model: None, published=publisher.files.directory)
    assert live.get_known_model("hare", one).digest == one
    assert live.get_known_model("hare", two) is live.catalog["hare"]
    assert live.get_known_model("hare").digest == two
    assert live.get_known_model("hare", "f" * 64).digest == two
    assert live.kept_version(live.catalog["hare"]) == two
    assert live.kept_version(live.catalog["test-video"]) is None
    publisher.remove("hare", by(ANNE), offered(publisher))
    again = LiveCatalog(SHIPPED, lambda model: None, published=publisher.files.directory)
    assert again.get_known_model("hare", one).digest == one
    with pytest.raises(InvalidRequest):
        again.get_known_model("hare")


def test_a_damaged_record_is_an_error_and_not_a_free_id(publisher: ModelPublisher) -> None:
    publish(publisher, files_of("hare"))
    publisher.files.record_file("hare").write_text(json.dumps({"owner": "acct_bob"}))
    with pytest.raises(Exception, match=r"record\.json"):
        publish(publisher, files_of("hare", "two"), BOB)


def test_reads_a_directory_that_cannot_be_written(publisher: ModelPublisher) -> None:
    version = publish(publisher, files_of("hare"))
    publisher.files.directory.chmod(0o555)
    try:
        live = LiveCatalog(SHIPPED, lambda model: None, published=publisher.files.directory)
        assert live.catalog["hare"].digest == version
    finally:
        publisher.files.directory.chmod(0o755)
