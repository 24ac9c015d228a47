"""The operator's table of stand-ins."""

from __future__ import annotations

import asyncio
import shutil
import tomllib
from pathlib import Path

import pytest

from orchestrator.catalog import Catalog, CatalogError, Model, load_stand_ins
from orchestrator.catalog.live_catalog import LiveCatalog
from orchestrator.catalog.tasks import Task, TaskModels, find_tasks
from orchestrator.errors import InvalidRequest
from orchestrator.settings import SHIPPED_WORKFLOWS_DIR, Settings, SettingsError
from orchestrator.web.dialects.input_image_models import max_input_images
from tests.support.drafts import SHIPPED, WEIGHTLESS
from tests.support.shipped import SHIPPED_CATALOG as CATALOG

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
    (
        '"sora-2" = { model = "no-such-model", enabled = true }',
        r"sora-2: the catalog has no model 'no-such-model'",
    ),
    ('"flux-dev" = { model = "sdxl-1.0", enabled = true }', "flux-dev: the catalog has a model of this name"),
    ('"sora-2" = { enabled = true }', r"sora-2: .*must have `model` or one of generate, edit, mask"),
    (
        '"sora-2" = { edit = "no-such-model", enabled = true }',
        r"sora-2: the catalog has no model 'no-such-model'",
    ),
    ('"sora-2" = { draw = "sdxl-1.0", enabled = true }', r"sora-2\.draw: Extra inputs"),
    ('"sora-2" = { model = "sdxl-1.0", on = true }', r"sora-2\.on: Extra inputs"),
    ('"sora-2" = { model = "sdxl-1.0", enabled = "yes" }', r"sora-2\.enabled: Input should be"),
    ('"sora-2" = "sdxl-1.0"', "sora-2: Input should be"),
    ('"sora-2" = {', "cannot be read"),
    (
        '"sora-2" = { video = "ltx2.3-t2v", seconds = 99, enabled = true }',
        r"sora-2: the model ltx2\.3-t2v does not make 99 seconds",
    ),
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
        file.write_text(row.format("sora-2", "no-such-model"))
        await asyncio.wait_for(changed.wait(), 10)
        assert live.catalog["sora-2"].id == "test-video"
        assert [error.reason for error in live.rejections] == ["the catalog has no model 'no-such-model'"]
        changed.clear()
        shutil.rmtree(tmp_path / "test-video")
        await asyncio.wait_for(changed.wait(), 10)
        with pytest.raises(InvalidRequest):
            live.catalog["sora-2"]
    finally:
        await live.stop()


def test_a_wrong_table_stops_the_start(tmp_path: Path) -> None:
    file = written(tmp_path, WRONG[0][0])
    with pytest.raises(CatalogError, match="the catalog has no model 'no-such-model'"):
        LiveCatalog(SHIPPED_WORKFLOWS_DIR, lambda model: None, stand_ins=file)


ONE_NAME = TaskModels(generate="qwen-image", edit="qwen-image-edit", mask="flux-1-fill-dev")
FILMS = TaskModels(video="ltx2.3-t2v", image_video="ltx2.3-i2v")


@pytest.mark.parametrize(
    ("row", "tasks", "expected"),
    [
        (ONE_NAME, find_tasks(image_count=0), "qwen-image"),
        (ONE_NAME, find_tasks(image_count=2), "qwen-image-edit"),
        (ONE_NAME, find_tasks(image_count=1, has_mask=True), "flux-1-fill-dev"),
        (ONE_NAME, find_tasks(image_count=1, has_prompt=False), "qwen-image-edit"),
        (FILMS, (Task.VIDEO,), "ltx2.3-t2v"),
        (FILMS, (Task.IMAGE_VIDEO,), "ltx2.3-i2v"),
        (FILMS, find_tasks(image_count=0), "ltx2.3-t2v"),
        (FILMS, find_tasks(image_count=1), "ltx2.3-i2v"),
        (TaskModels(model="flux-2-dev"), find_tasks(image_count=1), "flux-2-dev"),
        (TaskModels(model="flux-2-dev", mask="flux-1-fill-dev"), (Task.EDIT,), "flux-2-dev"),
        (TaskModels(model="flux-2-dev", mask="flux-1-fill-dev"), (Task.MASK,), "flux-1-fill-dev"),
    ],
)
def test_a_name_has_a_model_for_each_task(row: TaskModels, tasks: tuple[Task, ...], expected: str) -> None:
    catalog = CATALOG.with_stand_ins({"one-name": row})
    assert catalog.resolve("one-name", *tasks).id == expected
    assert catalog.resolve(expected, *tasks) is catalog[expected]


def test_refuses_a_task_that_a_name_does_not_serve() -> None:
    catalog = CATALOG.with_stand_ins({"sora-2": FILMS, "painter": TaskModels(generate="qwen-image")})
    with pytest.raises(InvalidRequest, match=r"sora-2 .*\(mask\); it serves: video, image_video") as refused:
        catalog.resolve("sora-2", Task.MASK)
    assert (refused.value.code, refused.value.param) == ("unsupported_model", "model")
    with pytest.raises(InvalidRequest, match="it serves: generate"):
        catalog.resolve("painter", *find_tasks(image_count=1))


def test_says_that_an_image_is_missing_where_a_name_needs_one() -> None:
    mover, editor = TaskModels(image_video="ltx2.3-i2v"), TaskModels(edit="qwen-image-edit")
    catalog = CATALOG.with_stand_ins({"mover": mover, "editor": editor})
    for name in ("mover", "editor"):
        with pytest.raises(InvalidRequest, match="`image` is required") as refused:
            catalog.resolve(name, *find_tasks(image_count=0))
        assert (refused.value.code, refused.value.param) == ("missing_image", "image")


def test_an_alias_may_name_a_model_per_task(tmp_path: Path) -> None:
    for name in ("test-image", "test-video"):
        shutil.copytree(WEIGHTLESS / name, tmp_path / name)
    manifest = tmp_path / "test-image" / "model.toml"
    row = 'aliases = ["plain", { name = "both", video = "test-video" }]\nmax_resolution ='
    manifest.write_text(manifest.read_text().replace("max_resolution =", row, 1))
    catalog = Catalog.load(tmp_path)
    assert catalog["test-image"].aliases == ("plain", "both")
    assert catalog.resolve("both", Task.GENERATE).id == "test-image"
    assert catalog.resolve("both", Task.VIDEO).id == "test-video"
    assert catalog.resolve("plain", Task.VIDEO).id == "test-image"
    assert {model.id for model in catalog.models_of("both")} == {"test-image", "test-video"}


def test_lists_name_enabled_stand_ins_after_the_models() -> None:
    catalog = CATALOG.with_stand_ins({"sora-2": FILMS, "gone": "no-such-model"})
    offers = [name for name, _ in catalog.offers()]
    assert offers == [*(model.id for model in CATALOG), "sora-2"]


#: What a model of each row takes, so that it does what OpenAI's model of that name does.
OPENAI_IMAGE_TASKS = (Task.GENERATE, Task.EDIT, Task.MASK, Task.VARIATION)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    on = TABLE.read_text().replace("= false", "= true")
    return CATALOG.with_stand_ins(load_stand_ins(written(tmp_path_factory.mktemp("on"), on), CATALOG))


@pytest.mark.parametrize(
    "name", ["gpt-image-1", "gpt-image-1-mini", "gpt-image-1.5", "gpt-image-2", "dall-e-2", "dall-e-3"]
)
def test_openais_image_names_do_all_tasks(shipped: Catalog, name: str) -> None:
    models = {task: shipped.resolve(name, task) for task in OPENAI_IMAGE_TASKS}
    assert all(model.makes_images for model in models.values())
    assert {"prompt", "width", "height"} <= models[Task.GENERATE].parameters.keys()
    assert max_input_images(models[Task.EDIT]) >= 1
    assert "mask" in models[Task.MASK].parameters
    assert "prompt" not in required(models[Task.VARIATION])
    if name.startswith("gpt"):
        assert max_input_images(models[Task.EDIT]) > 1
        assert max_input_images(models[Task.MASK]) > 1
        for size in ((1024, 1024), (1536, 1024), (1024, 1536)):
            models[Task.GENERATE].example_params(width=size[0], height=size[1])


@pytest.mark.parametrize("name", ["sora-2", "sora-2-pro"])
def test_openais_video_names_make_videos_with_and_without_an_image(shipped: Catalog, name: str) -> None:
    for task in (Task.VIDEO, Task.IMAGE_VIDEO):
        model = shipped.resolve(name, task)
        assert model.makes_video
        assert ("image" in required(model)) == (task is Task.IMAGE_VIDEO)
        for size in ((1280, 720), (720, 1280)):
            model.example_params(width=size[0], height=size[1])


def required(model: Model) -> set[str]:
    return {name for name, spec in model.parameters.items() if spec.required}


def test_no_model_that_ignores_images_stands_in_for_image_to_video(tmp_path: Path) -> None:
    table = tmp_path / "stand-ins.toml"
    table.write_text((SHIPPED / "stand-ins.toml").read_text().replace("enabled = false", "enabled = true"))
    rows = load_stand_ins(table, CATALOG)
    films = [row for row in rows.values() if any(CATALOG[name].makes_video for name in row.names())]
    assert films
    for row in films:
        model = CATALOG[row.find(Task.IMAGE_VIDEO) or ""]
        assert "image" in model.parameters
