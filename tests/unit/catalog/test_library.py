from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.catalog import Catalog, CatalogError, load_model
from orchestrator.errors import InvalidRequest
from tests.support.drafts import CATALOG, SHIPPED, WEIGHTLESS, write


def test_a_model_is_found_by_id_and_alias() -> None:
    assert CATALOG["flux-schnell"] is CATALOG["flux-1-schnell"]
    assert "flux-schnell" in CATALOG
    assert "nobody" not in CATALOG


@pytest.mark.parametrize(
    "name", ["nobody", "", "FLUX-1-SCHNELL", "../flux-1-schnell", "x" * 10_000, 7, None, []]
)
def test_an_unknown_model_is_a_bad_request(name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        CATALOG[name]
    assert (caught.value.code, caught.value.param, caught.value.status) == ("model_not_found", "model", 400)
    assert len(caught.value.message) < 200


def test_the_order_is_that_of_the_list(tmp_path: Path) -> None:
    write(tmp_path / "z-image", id="z-image", featured=True)
    write(tmp_path / "a-image", id="a-image")
    write(tmp_path / "a-video", id="a-video", kind="video")
    write(tmp_path / "b-image", id="b-image")
    assert [model.id for model in Catalog.load(tmp_path)] == ["z-image", "a-image", "b-image", "a-video"]


def test_several_directories_make_one_catalogue() -> None:
    assert len(CATALOG) == len(Catalog.load(SHIPPED)) + len(Catalog.load(WEIGHTLESS))


def test_rejects_a_duplicate_name(tmp_path: Path) -> None:
    write(tmp_path / "first", id="first", aliases=["both"])
    write(tmp_path / "second", id="second", aliases=["both"])
    with pytest.raises(CatalogError, match=r"second: both: the name is already used by the model first"):
        Catalog.load(tmp_path)


def test_the_folder_must_be_named_like_the_model(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="must be the name of the folder, 'other'"):
        load_model(write(tmp_path / "other"))


def test_other_folders_are_left_alone(tmp_path: Path) -> None:
    write(tmp_path / "draft")
    (tmp_path / "notes").mkdir()
    (tmp_path / "README.md").write_text("hello")
    assert [model.id for model in Catalog.load(tmp_path)] == ["draft"]


def test_names_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="the directory does not exist"):
        Catalog.load(tmp_path / "nowhere")
    folder = write(tmp_path / "draft")
    (folder / "graph.json").unlink()
    with pytest.raises(CatalogError, match=r"draft/graph\.json: cannot be read"):
        load_model(folder)
    (folder / "graph.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(CatalogError, match=r"draft/graph\.json: cannot be read"):
        load_model(folder)
    write(folder)
    (folder / "model.toml").write_text("id = ")
    with pytest.raises(CatalogError, match=r"draft/model\.toml: not valid TOML"):
        load_model(folder)
    (folder / "model.toml").write_text("#" * (9 * 2**20))
    with pytest.raises(CatalogError, match="larger than"):
        load_model(folder)


def test_a_refresh_adds_and_removes_models(tmp_path: Path) -> None:
    write(tmp_path / "first", id="first")
    write(tmp_path / "second", id="second")
    before = Catalog.load(tmp_path)
    write(tmp_path / "first", id="first", description="Changed.")
    write(tmp_path / "third", id="third")
    for file in (tmp_path / "second").iterdir():
        file.unlink()
    after, refused = before.reload(tmp_path)
    assert refused == []
    assert [model.id for model in after] == ["first", "third"]
    assert after.reload(tmp_path)[0]["third"] is after["third"]
    assert after["first"].digest != before["first"].digest


def test_a_refresh_keeps_models_that_became_invalid(tmp_path: Path) -> None:
    write(tmp_path / "first", id="first", aliases=["one"])
    before = Catalog.load(tmp_path)
    write(tmp_path / "first", id="first", kind="picture")
    write(tmp_path / "new", id="new", aliases=["one"])
    write(tmp_path / "worse", id="worse", kind="picture")
    after, refused = before.reload(tmp_path)
    assert [model.id for model in after] == ["first"]
    assert after["one"] is before["first"]
    assert [error.file.parent.name or error.file.name for error in refused] == ["first", "new", "worse"]


def test_an_invalid_model_does_not_take_a_used_name(tmp_path: Path) -> None:
    write(tmp_path / "b", id="b", aliases=["name"])
    before = Catalog.load(tmp_path)
    write(tmp_path / "a", id="a", aliases=["name"])
    write(tmp_path / "b", id="b", kind="picture")
    after, refused = before.reload(tmp_path)
    assert [model.id for model in after] == ["a"]
    assert len(refused) == 1
