"""The operator's table of stand-ins."""

from __future__ import annotations

import asyncio
import shutil
import tomllib
from pathlib import Path

import pytest

from orchestrator.catalog import Catalog, CatalogError, load_stand_ins
from orchestrator.catalog.live_catalog import LiveCatalog
from orchestrator.errors import InvalidRequest
from orchestrator.settings import SHIPPED_WORKFLOWS_DIR, Settings, SettingsError
from tests.support.drafts import SHIPPED, WEIGHTLESS

CATALOG = Catalog.load(SHIPPED)
TABLE = SHIPPED_WORKFLOWS_DIR / "stand-ins.toml"


def written(directory: Path, text: str) -> Path:
    file = directory / "stand-ins.toml"
    file.write_text(text)
    return file


def test_the_table_that_ships_is_off_and_could_be_on(tmp_path: Path) -> None:
    assert load_stand_ins(TABLE, CATALOG) == {}
    rows = tomllib.loads(TABLE.read_text())
    on = load_stand_ins(written(tmp_path, TABLE.read_text().replace("= false", "= true")), CATALOG)
    assert on.keys() == rows.keys()


def test_finds_a_stand_in_by_id_or_alias(tmp_path: Path) -> None:
    file = written(tmp_path, '"sora-2" = { model = "flux-schnell", enabled = true }\noff = { model = "x" }')
    catalog = CATALOG.with_stand_ins(load_stand_ins(file, CATALOG))
    assert catalog["sora-2"] is CATALOG["flux-1-schnell"]
    assert "sora-2" in catalog
    assert "sora-2" not in CATALOG
    assert [model.id for model in catalog] == [model.id for model in CATALOG]


WRONG = [
    ('"sora-2" = { model = "nobody", enabled = true }', r"sora-2: the catalog has no model 'nobody'"),
    ('"flux-dev" = { model = "sdxl-1.0", enabled = true }', "flux-dev: the catalog has a model of this name"),
    ('"sora-2" = { enabled = true }', r"sora-2\.model: Field required"),
    ('"sora-2" = { model = "sdxl-1.0", on = true }', r"sora-2\.on: Extra inputs"),
    ('"sora-2" = { model = "sdxl-1.0", enabled = "yes" }', r"sora-2\.enabled: Input should be"),
    ('"sora-2" = "sdxl-1.0"', "sora-2: Input should be"),
    ('"sora-2" = {', "cannot be read"),
]


@pytest.mark.parametrize(("text", "reason"), WRONG)
def test_names_what_is_invalid(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(CatalogError, match=reason):
        load_stand_ins(written(tmp_path, text), CATALOG)


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    assert Settings(workflows_dir=tmp_path).stand_ins_path == tmp_path / "stand-ins.toml"
    with pytest.raises(SettingsError, match="PIXELFACTORY_STAND_INS_FILE: file not found"):
        _ = Settings(stand_ins_file=tmp_path / "mine.toml").stand_ins_path


async def test_changes_are_read_while_the_service_runs(tmp_path: Path) -> None:
    """What is wrong is not taken over, and what a model that goes stood in for goes with it."""
    shutil.copytree(WEIGHTLESS / "test-image", tmp_path / "test-image")
    shutil.copytree(WEIGHTLESS / "test-video", tmp_path / "test-video")
    row = '"{}" = {{ model = "{}", enabled = true }}'
    file = written(tmp_path, row.format("dall-e-3", "test-image"))
    live = LiveCatalog(tmp_path, lambda model: None, poll_seconds=0.01, stand_ins=file)
    assert "dall-e-3" in live.catalog
    changed = asyncio.Event()
    live.subscribe(changed.set)
    live.start()
    try:
        file.write_text(row.format("sora-2", "test-video"))
        await asyncio.wait_for(changed.wait(), 10)
        assert ("dall-e-3" in live.catalog, live.catalog["sora-2"].id) == (False, "test-video")
        changed.clear()
        file.write_text(row.format("sora-2", "nobody"))
        await asyncio.wait_for(changed.wait(), 10)
        assert live.catalog["sora-2"].id == "test-video"
        assert [error.reason for error in live.rejections] == ["the catalog has no model 'nobody'"]
        changed.clear()
        shutil.rmtree(tmp_path / "test-video")
        await asyncio.wait_for(changed.wait(), 10)
        with pytest.raises(InvalidRequest):
            live.catalog["sora-2"]
    finally:
        await live.stop()


def test_a_wrong_table_stops_the_start(tmp_path: Path) -> None:
    file = written(tmp_path, WRONG[0][0])
    with pytest.raises(CatalogError, match="the catalog has no model 'nobody'"):
        LiveCatalog(SHIPPED_WORKFLOWS_DIR, lambda model: None, stand_ins=file)
