"""Models that come, change, break and go while the service runs."""

from __future__ import annotations

import asyncio
import base64
import io
import shutil
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from orchestrator.catalog import CatalogError, load_model
from orchestrator.catalog.live_catalog import LiveCatalog
from tests.support.drafts import write
from tests.support.polling import poll
from tests.support.service import ROOT, ServiceProcess, running

PATH = "/api/v1/images/generations"
PICTURE = ROOT / "tests" / "workflows" / "test-image"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A service with a directory of models of its own: one that stays, and one that takes a while."""
    place = tmp_path_factory.mktemp("live")
    models = place / "models"
    for folder in (PICTURE, ROOT / "workflows" / "sd-1.5"):
        shutil.copytree(folder, models / folder.name)
    settings = {"PIXELFACTORY_WORKFLOWS_DIR": str(models), "PIXELFACTORY_SIMULATOR_TIME_SCALE": "1"}
    with running(ServiceProcess(place / "data", ("--simulate", "1"), settings)) as started:
        yield started


def models(service: ServiceProcess) -> Path:
    return Path(service.environment["PIXELFACTORY_WORKFLOWS_DIR"])


async def admin(service: ServiceProcess) -> dict[str, Any]:
    async with service.client(service.admin_token) as http, http.get("/admin/v1/models") as response:
        assert response.status == 200
        body: dict[str, Any] = await response.json()
        return body


async def digest(service: ServiceProcess, id: str) -> str | None:
    return next((row["digest"] for row in (await admin(service))["models"] if row["id"] == id), None)


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    await poll(holds)


async def until(service: ServiceProcess, id: str, wanted: str | None) -> None:
    """Until the service has that version of the model."""

    async def is_so() -> bool:
        return await digest(service, id) == wanted

    await eventually(is_so)


async def colour(service: ServiceProcess, model: str, seed: int = 0x102030) -> tuple[int, int, int]:
    """What the one-coloured picture of a model shows."""
    body = {"model": model, "prompt": "x", "size": "256x256", "seed": seed}
    key = service.key("1.00")
    async with service.client(key) as http, http.post(PATH, json=body) as response:
        answer = await response.json()
        assert response.status == 200, answer
    picture = Image.open(io.BytesIO(base64.b64decode(answer["data"][0]["b64_json"])))
    pixel = picture.convert("RGB").getpixel((0, 0))
    assert isinstance(pixel, tuple)
    return pixel[0], pixel[1], pixel[2]


def add(service: ServiceProcess, id: str, find: str = "", put: str = "") -> Path:
    """A folder for a model like the picture of one colour, with another text in its graph."""
    folder = models(service) / id
    folder.mkdir(exist_ok=True)
    (folder / "graph.json").write_text((PICTURE / "graph.json").read_text().replace(find, put))
    manifest = (PICTURE / "model.toml").read_text().replace('id = "test-image"', f'id = "{id}"')
    (folder / "model.toml").write_text(manifest)
    return folder


async def test_a_model_comes_and_changes(live: ServiceProcess) -> None:
    folder = add(live, "newcomer")
    first = load_model(folder).digest
    await until(live, "newcomer", first)
    assert await colour(live, "newcomer") == (0x10, 0x20, 0x30)
    add(live, "newcomer", "{{ seed % 16777216 }}", "{{ 255 }}")
    second = load_model(folder).digest
    await until(live, "newcomer", second)
    assert await colour(live, "newcomer") == (0, 0, 255)
    database = sqlite3.connect(live.data_dir / "pixelfactory.db")
    rows = database.execute("SELECT model_digest FROM shards WHERE model_digest IN (?, ?)", (first, second))
    assert [row[0] for row in rows] == [first, second], "each job says which version made it"
    database.close()
    rows_of_it = [row for row in (await admin(live))["models"] if row["id"] == "newcomer"]
    assert [row["served_by"] for row in rows_of_it] == [["sim-0"]]


async def test_rejects_a_broken_model_and_keeps_the_old_one(live: ServiceProcess) -> None:
    folder = add(live, "fragile")
    good = load_model(folder).digest
    await until(live, "fragile", good)
    manifest = (folder / "model.toml").read_text()
    (folder / "model.toml").write_text(manifest.replace('kind = "image"', 'kind = "sculpture"'))
    (folder / "graph.json").write_text('{"save": ')
    price = 'price_class = "flux-1-schnell"'
    priceless = (PICTURE / "model.toml").read_text().replace(price, 'price_class = "free-beer"')
    write(models(live) / "priceless", id="priceless")
    (models(live) / "priceless" / "model.toml").write_text(priceless.replace("test-image", "priceless"))

    async def both_are_refused() -> bool:
        return len((await admin(live))["refused"]) == 2

    await eventually(both_are_refused)
    refused = {Path(row["file"]).name: row for row in (await admin(live))["refused"]}
    assert refused["model.toml"]["where"] == "kind"
    assert "'free-beer' is not in tariff" in refused["priceless"]["reason"]
    assert await digest(live, "fragile") == good
    assert await colour(live, "fragile") == (0x10, 0x20, 0x30)
    assert "model rejected: " in live.log
    shutil.rmtree(folder)
    shutil.rmtree(models(live) / "priceless")
    await until(live, "fragile", None)
    assert (await admin(live))["refused"] == []


async def test_a_withdrawn_model_finishes_what_it_was_asked_for(live: ServiceProcess) -> None:
    body = {
        "model": "sd-1.5",
        "prompt": "a cat",
        "size": "512x512",
        "n": 4,
        "steps": 100,
        "response_format": "url",
    }
    key = live.key("5.00")
    async with live.client(key) as http:
        asked = asyncio.create_task(http.post(PATH, json=body).__aenter__())

        async def it_runs() -> bool:
            return "running" in _statuses(live)

        await eventually(it_runs)
        shutil.rmtree(models(live) / "sd-1.5")
        await until(live, "sd-1.5", None)
        assert "waiting" in _statuses(live), "too late: nothing of it waits any more"
        response = await asked
        assert response.status == 200
        assert len((await response.json())["data"]) == 4
        async with http.post(PATH, json=body) as response:
            assert (await response.json())["error"]["code"] == "model_not_found"


def _statuses(service: ServiceProcess) -> list[str]:
    """Of the shards of `sd-1.5`, as they are on disk."""
    database = sqlite3.connect(service.data_dir / "pixelfactory.db")
    try:
        query = "SELECT shards.status FROM shards JOIN jobs ON jobs.id = shards.job_id WHERE jobs.model = ?"
        return sorted(row[0] for row in database.execute(query, ("sd-1.5",)))
    finally:
        database.close()


async def test_the_admin_token_is_needed(live: ServiceProcess) -> None:
    async with live.client("pk-nobody") as http, http.get("/admin/v1/models") as response:
        assert response.status == 401


async def test_only_what_has_come_to_rest_is_read(tmp_path: Path) -> None:
    write(tmp_path / "draft")
    watched = LiveCatalog(tmp_path, lambda model: None, poll_seconds=0.02)
    heard = asyncio.Event()
    watched.subscribe(heard.set)
    watched.start()
    try:
        for number in range(20):
            (tmp_path / "draft" / "graph.json").write_text("{" * (number + 1))
            await asyncio.sleep(0.01)
        write(tmp_path / "draft", description="Changed.")
        await asyncio.wait_for(heard.wait(), 10)
        assert watched.rejections == []
        assert watched.catalog["draft"].description == "Changed."
    finally:
        await watched.stop()


async def test_keeps_models_when_their_directory_disappears(tmp_path: Path) -> None:
    home = tmp_path / "models"
    write(home / "draft")
    watched = LiveCatalog(home, lambda model: None, poll_seconds=0.02)
    watched.start()
    try:
        home.rename(tmp_path / "elsewhere")
        await asyncio.sleep(0.3)
        assert "draft" in watched.catalog
    finally:
        await watched.stop()


def test_a_service_without_one_right_model_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="the directory does not exist"):
        LiveCatalog(tmp_path / "nowhere", lambda model: None)
    write(tmp_path / "draft", kind="sculpture")
    with pytest.raises(CatalogError, match="kind"):
        LiveCatalog(tmp_path, lambda model: None)
    write(tmp_path / "right", id="right")
    assert [model.id for model in LiveCatalog(tmp_path, lambda model: None).catalog] == ["right"]
