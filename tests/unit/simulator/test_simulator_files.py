"""Names of files, as graphs and requests spell them."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfy_instances.simulator.files import (
    has_input_file,
    open_file_series,
    parse_annotated_name,
    resolve_input_path,
)
from comfy_instances.simulator.options import InstanceFolders


@pytest.fixture
def folders(tmp_path: Path) -> InstanceFolders:
    folders = InstanceFolders(tmp_path)
    folders.prepare()
    return folders


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("x.png", ("x.png", None)),
        ("x.png [temp]", ("x.png", "temp")),
        ("a/x.png [output]", ("a/x.png", "output")),
        ("x.png [input]", ("x.png", "input")),
        ("x.png [other]", ("x.png [other]", None)),
    ],
)
def test_annotations(name: str, parts: tuple[str, str | None]) -> None:
    assert parse_annotated_name(name) == parts


def test_inputs_are_found_in_their_folders(folders: InstanceFolders) -> None:
    (folders.temp / "x.png").touch()
    assert has_input_file(folders, "x.png [temp]")
    assert not has_input_file(folders, "x.png")
    assert resolve_input_path(folders, "sub/x.png") == folders.input / "sub" / "x.png"


@pytest.mark.parametrize("name", ["../x.png", "/etc/hostname", "a/../../x.png", "../output/x.png [temp]"])
def test_paths_cannot_leave_the_folder(name: str, folders: InstanceFolders) -> None:
    assert not has_input_file(folders, name)
    with pytest.raises(ValueError, match="Invalid file path"):
        resolve_input_path(folders, name)


def test_numbers_continue_after_the_highest(folders: InstanceFolders) -> None:
    for name in ("pic_00007_.png", "pic_00002_.mp4", "picture_00099_.png", "pic_x_.png", "pic_"):
        (folders.output / name).touch()
    series = open_file_series(folders.output, "pic")
    assert [series.next_path(".png").name, series.next_path(".png").name] == [
        "pic_00008_.png",
        "pic_00009_.png",
    ]


def test_placeholders_are_filled_in(folders: InstanceFolders) -> None:
    series = open_file_series(folders.output, "deep/%width%x%height%-%year%", width=640, height=480)
    assert series.subfolder == "deep"
    assert series.base_name.startswith("640x480-20")
    assert open_file_series(folders.output, "n%batch_num%").next_path(".png", 3).name == "n3_00001_.png"


@pytest.mark.parametrize("prefix", ["../x", "/etc/x", "a/../../x"])
def test_prefixes_cannot_leave_the_folder(prefix: str, folders: InstanceFolders) -> None:
    with pytest.raises(ValueError, match="outside the output folder"):
        open_file_series(folders.output, prefix)
