"""Files that an author fixes: kept with the model, named in its graph, and exported with it."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import pytest

from orchestrator.catalog import CatalogError, write_model
from orchestrator.catalog.example_files import (
    EXAMPLES_NAME,
    MAX_FILE_BYTES,
    decode_data_url,
    format_example_files,
)
from orchestrator.catalog.fixed_files import FIXED_FILES_NAME, fix_literal_files, take_fixed_files
from orchestrator.catalog.import_export import InvalidWorkflow, export_api
from orchestrator.catalog.import_export.ui.ui_to_api import EXPORT_METADATA_KEY
from orchestrator.catalog.library import load_model
from orchestrator.catalog.manifest import FIXED_FILES_PARAM
from orchestrator.catalog.publishing.manifest_edits import apply_edits
from orchestrator.catalog.publishing.publisher import source_files
from orchestrator.catalog.publishing.submission import (
    Submission,
    SubmittedModel,
    build_model,
    check_publishable,
)
from orchestrator.cli.authoring.example_files import find_example_files, write_own_files
from orchestrator.cli.terminal.console import CliError
from orchestrator.errors import InvalidRequest
from orchestrator.web.admin.publishing_schemas import to_model_workflow
from tests.support.canvas import drawn
from tests.support.drafts import FACTS
from tests.support.images import png
from tests.support.media_samples import sound
from tests.unit.catalog.test_replacing import KNOWLEDGE

PICTURE, OTHER = png(8, 8), png(16, 8)
FIX = {"license": "mit", "owner": "us", "estimates": {"vram_bytes": 8_000_000_000, "step_seconds": 0.2}}
DIGEST = hashlib.sha256(PICTURE).hexdigest()


def graph(file: str = "sub\\hare.png [input]") -> dict[str, Any]:
    """A graph that changes an image."""
    return drawn(
        photo=("LoadImage", "", {"image": file}),
        latent=("VAEEncode", "", {"pixels": ["photo", 0], "vae": ["model", 2]}),
    )


def sent(**files: bytes) -> list[dict[str, str]]:
    return [
        {"name": f"sub/{name}.png", "data": f"data:image/png;base64,{base64.b64encode(data).decode()}"}
        for name, data in files.items()
    ]


def submit(prompt: Any = None, fix: bool = True, **fields: Any) -> SubmittedModel:
    manifest = FIX | ({"parameters": {"image": None}} if fix else {})
    given: dict[str, Any] = {"id": "hare", "prompt": prompt or graph(), "manifest": manifest}
    return build_model(Submission(**(given | fields)), KNOWLEDGE)


def test_a_fixed_image_is_kept_and_named_by_the_instance_in_the_graph() -> None:
    built = submit(example_files=sent(hare=PICTURE))
    model = check_publishable(built.files, FACTS)
    assert "image" not in model.parameters
    assert model.example_files == {}
    assert model.fixed_files["image"].data == PICTURE
    assert model.manifest.fixed_files["image"].sha256 == DIGEST
    params = model.example_params()
    rendered = model.render_graph(params, filename_prefix="x")
    assert rendered["photo"]["inputs"]["image"] == "sub/hare.png"
    rendered = model.render_graph(params | {FIXED_FILES_PARAM: {"image": "up.png"}}, filename_prefix="x")
    assert rendered["photo"]["inputs"]["image"] == "up.png"


def test_another_file_is_another_version() -> None:
    first, second = (submit(example_files=sent(hare=data)) for data in (PICTURE, OTHER))
    assert first.model.digest != second.model.digest


def test_a_check_asks_for_the_file_and_nothing_is_live_without_it() -> None:
    checked = submit(is_dry_run=True)
    assert checked.missing == {}
    assert any("sub/hare.png" in question for question in checked.questions)
    for files in ([], sent(fox=PICTURE)):
        built = submit(example_files=files)
        assert "sub/hare.png" in built.missing["fixed_files"]
        with pytest.raises(InvalidRequest, match=r"content of sub/hare\.png"):
            check_publishable(built.files, FACTS)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"<svg/>", "its content is no image"),
        (sound("wav", "pcm_s16le"), "its content is no image"),
        (PICTURE + bytes(MAX_FILE_BYTES), "at most"),
        (PICTURE[:16] + struct.pack(">II", 60_000, 60_000) + PICTURE[24:], "60000x60000 pixels"),
        (PICTURE[:12], "does not start with its size"),
        (PICTURE[:50], "it is damaged"),
        (PICTURE[:33] + b"<script>alert(1)</script>", "it is damaged"),
    ],
)
def test_says_why_a_fixed_file_cannot_be_kept(data: bytes, said: str) -> None:
    built = submit(example_files=sent(hare=data))
    assert "fixed_files" in built.missing
    assert any(said in note for note in built.questions), built.questions
    assert said in built.missing["fixed_files"]
    assert FIXED_FILES_NAME not in built.files


def test_rejects_fixing_an_image_without_a_file() -> None:
    manifest = {"parameters": {"photo": {"type": "image", "required": True}}, "resources": {}}
    with pytest.raises(InvalidRequest, match="names no file"):
        apply_edits(manifest, {}, {"parameters": {"photo": None}})


def test_a_video_of_a_fixed_image_is_a_video_of_a_text() -> None:
    clip = {"images": ["decode", 0], "fps": 8.0}
    moving = graph() | drawn(
        video=("CreateVideo", "", clip),
        save=(
            "SaveVideo",
            "",
            {"video": ["video", 0], "filename_prefix": "x", "format": "auto", "codec": "auto"},
        ),
    )
    moving["latent"] = graph()["latent"]
    assert submit(moving, fix=False).model.kind.value == "i2v"
    assert submit(moving, example_files=sent(hare=PICTURE)).model.kind.value == "video"


def test_files_that_no_parameter_sets_are_kept_too() -> None:
    names = [f"{number}.png" for number in range(6)]
    nodes: dict[str, Any] = {name[0]: ("LoadImage", "", {"image": name}) for name in names}
    for number in range(1, 6):
        joined = {"image1": ["j" + str(number - 1) if number > 1 else "0", 0], "image2": [str(number), 0]}
        nodes[f"j{number}"] = ("ImageBatch", "", joined)
    many = drawn(**nodes, latent=("VAEEncode", "", {"pixels": ["j5", 0], "vae": ["model", 2]}))
    files = [
        {"name": name, "data": f"data:image/png;base64,{base64.b64encode(png(8, 8 + int(name[0]))).decode()}"}
        for name in names
    ]
    built = submit(many, fix=False, example_files=files)
    rows = built.model.manifest.fixed_files
    assert {row.name for row in rows.values()} == {"4.png", "5.png"}
    assert check_publishable(built.files, FACTS).fixed_files.keys() == rows.keys()
    again = submit(many, fix=False, earlier=built.files)
    assert again.model.manifest.fixed_files == rows
    assert again.missing == {}


def test_a_new_version_keeps_the_fixed_image() -> None:
    first = submit(example_files=sent(hare=PICTURE))
    second = submit(fix=False, earlier=first.files)
    assert "image" not in second.model.parameters
    assert check_publishable(second.files, FACTS).fixed_files["image"].data == PICTURE
    replaced = submit(fix=False, earlier=first.files, example_files=sent(hare=OTHER))
    assert replaced.model.fixed_files["image"].data == OTHER
    moved = submit(graph("fox.png"), fix=False, earlier=first.files)
    assert "fox.png" in moved.missing["fixed_files"]
    freed = submit(fix=False, earlier=first.files, manifest=FIX | {"parameters": {"image": {}}})
    assert "image" in freed.model.parameters
    assert not freed.model.manifest.fixed_files
    assert FIXED_FILES_NAME not in freed.files


def test_an_export_writes_the_files_and_an_import_finds_them(tmp_path: Path) -> None:
    built = submit(example_files=sent(hare=PICTURE))
    exported = export_api(built.model)
    assert exported["photo"]["inputs"]["image"] == "sub/hare.png"
    written = write_own_files(built.model, tmp_path / "input")
    assert [file.read_bytes() for file in written] == [PICTURE]
    assert find_example_files(tmp_path / "hare.json", ["sub/hare.png"], None) == [("sub/hare.png", PICTURE)]
    assert write_own_files(built.model, tmp_path / "input") == written
    again = submit(copy.deepcopy(exported), fix=False, example_files=sent(hare=PICTURE))
    assert again.model.source.template == built.model.source.template
    assert again.model.fixed_files["image"].data == PICTURE
    exported["photo"]["inputs"]["image"] = "fox.png"
    changed = submit(exported, fix=False)
    assert "fox.png" in changed.missing["fixed_files"]
    (tmp_path / "input/sub/hare.png").write_bytes(OTHER)
    with pytest.raises(CliError, match="is another file"):
        write_own_files(built.model, tmp_path / "input")


@pytest.mark.parametrize("fix", [True, False])
def test_the_canvas_of_a_model_comes_with_its_files(fix: bool) -> None:
    built = submit(fix=fix, example_files=sent(hare=PICTURE))
    shown = to_model_workflow("live", built.model, {})
    assert [(file.name, decode_data_url(file.data)) for file in shown.files] == [("sub/hare.png", PICTURE)]
    assert shown.missing_files == []
    shown = to_model_workflow("live", submit(fix=fix).model, {})
    assert (shown.files, shown.missing_files) == ([], ["sub/hare.png"])


def test_an_export_writes_example_files(tmp_path: Path) -> None:
    built = submit(fix=False, example_files=sent(hare=PICTURE))
    assert [file.relative_to(tmp_path).as_posix() for file in write_own_files(built.model, tmp_path)] == [
        "sub/hare.png"
    ]


def test_a_folder_is_loaded_with_its_files(tmp_path: Path) -> None:
    built = submit(example_files=sent(hare=PICTURE))
    folder = write_model(tmp_path, "hare", built.files)
    loaded = load_model(folder)
    assert loaded.fixed_files["image"].data == PICTURE
    assert source_files(loaded)[FIXED_FILES_NAME] == built.files[FIXED_FILES_NAME]
    (folder / FIXED_FILES_NAME).write_text(format_example_files({"image": ("hare.png", OTHER)}))
    with pytest.raises(CatalogError, match=r"publish the model again with sub/hare\.png"):
        load_model(folder)


def test_loads_a_folder_with_as_many_example_files_as_are_kept(tmp_path: Path) -> None:
    files = dict(submit(fix=False).files)
    large = {name: ("a.png", PICTURE + bytes(6 * 2**20 - len(PICTURE))) for name in ("image", "image2")}
    files[EXAMPLES_NAME] = format_example_files(large)
    assert load_model(write_model(tmp_path, "hare", files)).example_files.keys() == {"image"}


@pytest.mark.parametrize("name", ["/etc/passwd", "../../etc/passwd", "C:\\secret.png", "~/x.png", ".", "a/"])
def test_a_path_outside_of_the_input_folder_is_no_fixed_file(name: str) -> None:
    nodes = {"1": {"class_type": "LoadAudio", "inputs": {"audio": name}}}
    assert fix_literal_files({}, nodes, FACTS) == ({}, nodes)
    with pytest.raises(InvalidRequest, match="file in ComfyUI's input folder"):
        submit(graph(name))


def test_a_manifest_written_by_hand_gets_its_digests() -> None:
    row = {"name": "hare.png", "media": "image"}
    manifest, text, notes = take_fixed_files({"fixed_files": {"logo": row}}, [("hare.png", PICTURE)])
    assert manifest["fixed_files"]["logo"]["sha256"] == DIGEST
    assert json.loads(text)["logo"]["name"] == "hare.png"
    assert notes == []


@pytest.mark.parametrize(
    "rows", ["fixed_files = 7", "[fixed_files.image_1]\nmedia = 'image'", "[[fixed_files]]\nname = 'a.png'"]
)
def test_rejects_an_export_whose_fixed_files_are_none(rows: str) -> None:
    exported = export_api(submit(fix=False).model)
    exported["photo"]["inputs"]["image"] = "fox.png"
    exported["more"] = {"class_type": "LoadImage", "inputs": {"image": "fox.png"}, "_meta": {}}
    note = next(iter(exported.values()))["_meta"][EXPORT_METADATA_KEY]
    note["manifest"] = f"{rows}\n{note['manifest']}" if "[" not in rows else f"{note['manifest']}\n{rows}\n"
    with pytest.raises((InvalidRequest, InvalidWorkflow), match="fixed_files"):
        submit(exported, fix=False)
