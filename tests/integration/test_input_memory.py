"""A small file that declares a large image costs no memory: limits are checked before anything is decoded.

Each input is read in a process of its own, whose largest resident set tells what was allocated.
"""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
from PIL import Image

from tests.support.images import png
from tests.support.media_samples import encoded, exif

ROOT = Path(__file__).resolve().parent.parent.parent
#: Within the service's limits (64 megapixels), and far beyond those of the upscaler (2048x2048).
LARGE = (8000, 7500)
UPSCALER, INPAINTER, TRAINER = "4x-ultrasharp", "flux-1-fill-dev", "flux-1-dev-lora-trainer"
#: What reading a file of some hundred kilobytes may take. Decoding `LARGE` takes 60 MB at the very least.
SMALL_FILE_BYTES = 40 * 2**20


def read(tmp_path: Path, model: str, param: str, *values: bytes | str) -> dict[str, Any]:
    """Return the outcome of reading these values of `param` and `mask`: code, message, memory in bytes."""
    files = []
    for number, value in enumerate(values):
        file = tmp_path / (f"{number}.txt" if isinstance(value, str) else f"{number}.bin")
        file.write_text(value) if isinstance(value, str) else file.write_bytes(value)
        files.append(str(file))
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.input_memory", model, param, *files],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    outcome: dict[str, Any] = json.loads(done.stdout)
    return outcome


def large(kind: str, mode: str = "L", **options: Any) -> bytes:
    """An image of one colour, so that its file is small."""
    return encoded(Image.new(mode, LARGE, 99), kind, **options)


def gif_that_is_cleared() -> bytes:
    """A tiny file whose first frame covers 65535x2700 pixels and is cleared before the next one."""
    control = b"\x21\xf9\x04\x08\x00\x00\x00\x00"
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 65_535, 2_700, 0) + b"\x02\x02\x44\x01\x00"
    screen = struct.pack("<HHBBB", 16, 16, 0x80, 0, 0) + bytes(6)
    return b"GIF89a" + screen + control + frame + control + frame + b";"


@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("PNG", "L", {}),
        ("PNG", "1", {"exif": exif(6)}),
        ("JPEG", "L", {}),
        ("JPEG", "L", {"progressive": True}),
        ("GIF", "P", {}),
        ("WEBP", "RGB", {"method": 0}),
    ],
    ids=["png", "png-turned", "jpeg", "jpeg-progressive", "gif", "webp"],
)
def test_refuses_an_image_beyond_the_models_limits_undecoded(
    tmp_path: Path, kind: str, mode: str, options: dict[str, Any]
) -> None:
    outcome = read(tmp_path, UPSCALER, "image", large(kind, mode, **options))
    width, height = reversed(LARGE) if "exif" in options else LARGE
    assert outcome["code"] == "invalid_image"
    assert f"at most 2048x2048 pixels (got {width}x{height})" in outcome["message"]
    assert outcome["grown"] < SMALL_FILE_BYTES


def test_refuses_a_gif_whose_frame_exceeds_its_screen_unopened(tmp_path: Path) -> None:
    outcome = read(tmp_path, UPSCALER, "image", gif_that_is_cleared())
    assert outcome["code"] == "image_too_large"
    assert "65535x2700" in outcome["message"]
    assert outcome["grown"] < SMALL_FILE_BYTES


def test_refuses_a_large_mask_undecoded(tmp_path: Path) -> None:
    outcome = read(tmp_path, INPAINTER, "image", png(64, 64), large("PNG"))
    assert outcome["code"] == "invalid_mask"
    assert outcome["grown"] < SMALL_FILE_BYTES


def test_decodes_no_image_of_a_request_whose_mask_has_another_size(tmp_path: Path) -> None:
    """The image alone is within the limits, and takes 60 MB to decode."""
    image = encoded(Image.new("RGB", (2048, 2048)), "WEBP", method=0)
    outcome = read(tmp_path, INPAINTER, "image", image, png(2048, 1024))
    assert (outcome["code"], "2048x1024" in outcome["message"]) == ("invalid_mask", True)
    assert outcome["grown"] < 20 * 2**20


def archive(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with ZipFile(buffer, "w", ZIP_DEFLATED) as zip_file:
        for name, data in files.items():
            zip_file.writestr(name, data)
    return buffer.getvalue()


def test_decodes_no_image_of_a_dataset_of_which_one_header_is_refused(tmp_path: Path) -> None:
    broken = b"\x89PNG\r\n\x1a\n" + bytes(40)
    outcome = read(tmp_path, TRAINER, "dataset", archive({"a.png": large("PNG"), "b.png": broken}))
    assert (outcome["code"], "b.png" in outcome["message"]) == ("invalid_dataset", True)
    assert outcome["grown"] < SMALL_FILE_BYTES


def test_decodes_no_image_of_a_dataset_with_more_images_than_the_model_takes(tmp_path: Path) -> None:
    images = {"a.png": large("PNG")} | {f"b{number}.png": png(16, 16) for number in range(1000)}
    outcome = read(tmp_path, TRAINER, "dataset", archive(images))
    assert (outcome["code"], "1001" in outcome["message"]) == ("invalid_dataset", True)
    assert outcome["grown"] < SMALL_FILE_BYTES


def test_refuses_an_archive_of_too_many_entries_unread(tmp_path: Path) -> None:
    """60 000 entries of 47 bytes, which would take 50 MB as Python objects."""
    entries = [
        b"PK\x01\x02" + bytes(24) + struct.pack("<HHH", 1, 0, 0) + bytes(12) + b"%c" % (97 + number % 20)
        for number in range(60_000)
    ]
    directory = b"".join(entries)
    end = b"PK\x05\x06" + bytes(4) + struct.pack("<HHIIH", 60_000, 60_000, len(directory), 4, 0)
    outcome = read(tmp_path, TRAINER, "dataset", b"PK\x03\x04" + directory + end)
    assert (outcome["code"], "entries" in outcome["message"]) == ("dataset_too_large", True)
    assert outcome["grown"] < 10 * 2**20


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("QUFB \n" * 5_000_000, "unsupported_image_format"),
        ("data:image/png," + "%41" * 10_000_000, "unsupported_image_format"),
        ("data:image/png," + "%" * 32_000_000, "unsupported_image_format"),
    ],
    ids=["spaced-base64", "percent-encoded", "percent-signs"],
)
def test_unwraps_text_in_a_few_times_its_size(tmp_path: Path, text: str, code: str) -> None:
    outcome = read(tmp_path, UPSCALER, "image", text)
    allowed = 6 * len(text)
    assert outcome["code"] == code
    assert outcome["grown"] < allowed
