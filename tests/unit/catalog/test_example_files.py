"""The author's own input files: which are kept with a model, and why others are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.catalog.example_files import (
    MAX_FILE_BYTES,
    choose_example_files,
    format_example_files,
    parse_example_files,
)
from orchestrator.catalog.library import load_model
from orchestrator.catalog.publishing.draft_catalog import parse_files
from orchestrator.catalog.publishing.version_files import read_files
from orchestrator.cli.authoring.example_files import find_example_files
from tests.support import drafts
from tests.support.images import png
from tests.support.media_samples import sound

PICTURE = png(8, 8)
SOUND = sound("wav", "pcm_s16le")


def manifest(**example: str) -> dict[str, Any]:
    specs = {"image": "image", "mask": "mask", "video": "video", "audio": "audio", "prompt": "string"}
    return {"parameters": {name: {"type": type} for name, type in specs.items()}, "example": example}


def test_keeps_the_files_that_the_example_names() -> None:
    given = [("sub/hare.png", PICTURE), ("tune.wav", SOUND), ("other.png", PICTURE)]
    kept, notes = choose_example_files(
        manifest(image="sub\\hare.png [input]", audio="tune.wav", prompt="hare.png"), given
    )
    assert kept == {"image": ("hare.png", PICTURE), "audio": ("tune.wav", SOUND)}
    assert notes == []
    files = parse_example_files(format_example_files(kept))
    assert (files["image"].name, files["image"].content_type, files["image"].data) == (
        "hare.png",
        "image/png",
        PICTURE,
    )


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (None, "the file a.png of the parameter image"),
        (b"<svg onload='alert(1)'/>", "a.png is no image file, and not kept"),
        (SOUND, "a.png is no image file, and not kept"),
        (PICTURE + bytes(MAX_FILE_BYTES), "is not kept: at most"),
    ],
)
def test_says_why_a_file_is_not_kept(data: bytes | None, said: str) -> None:
    kept, notes = choose_example_files(manifest(image="a.png"), [] if data is None else [("a.png", data)])
    assert kept == {}
    assert said in notes[0]


def test_many_files_are_not_kept() -> None:
    large = PICTURE + bytes(MAX_FILE_BYTES - 1000)
    two = manifest(image="a.png") | {"example": {"image": "a.png", "image2": "b.png"}}
    two["parameters"]["image2"] = {"type": "image"}
    kept, notes = choose_example_files(two, [("a.png", large), ("b.png", large)])
    assert kept.keys() == {"image"}
    assert "together" in notes[0]


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"image": 1}', '{"image": {"data": "data:image/png;base64,%%%"}}']
)
def test_a_broken_file_has_no_examples(text: str) -> None:
    assert parse_example_files(text) == {}


def test_a_model_has_its_examples_from_its_folder_and_its_versions(tmp_path: Path) -> None:
    folder = drafts.write(
        tmp_path / "draft", parameters={"prompt": drafts.PROMPT, "image": {"type": "image"}}
    )
    text = format_example_files({"image": ("hare.png", PICTURE), "gone": ("gone.png", PICTURE)})
    (folder / "examples.json").write_text(text, "utf-8")
    for model in (load_model(folder), parse_files(read_files(folder), folder)):
        assert model.example_files.keys() == {"image"}
        assert model.example_files["image"].data == PICTURE


def test_finds_files_beside_the_graph(tmp_path: Path) -> None:
    graph = tmp_path / "graphs" / "hare.json"
    (graph.parent / "input" / "sub").mkdir(parents=True)
    (graph.parent / "a.png").write_bytes(PICTURE)
    (graph.parent / "input" / "sub" / "b.png").write_bytes(PICTURE)
    (tmp_path / "secret.png").write_bytes(PICTURE)
    names = ["a.png", "deep/a.png", "sub/b.png", "../secret.png", str(tmp_path / "secret.png"), "none.png"]
    found = dict(find_example_files(graph, names, None))
    assert found.keys() == {"a.png", "deep/a.png", "sub/b.png"}
