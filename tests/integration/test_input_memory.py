"""A small file that declares a large image costs no memory: limits are checked before anything is decoded.

Each input is read in a process of its own, whose largest resident set tells what was allocated.
"""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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


def large(kind: str, mode: str = "L", **options: Any) -> bytes:
    """An image of one colour, so that its file is small."""
    return encoded(Image.new(mode, LARGE, 99), kind, **options)


def gif_that_is_cleared() -> bytes:
    """A tiny file whose first frame covers 65535x2700 pixels and is cleared before the next one."""
    control = b"\x21\xf9\x04\x08\x00\x00\x00\x00"
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 65_535, 2_700, 0) + b"\x02\x02\x44\x01\x00"
    screen = struct.pack("<HHBBB", 16, 16, 0x80, 0, 0) + bytes(6)
    return b"GIF89a" + screen + control + frame + control + frame + b";"


def archive(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with ZipFile(buffer, "w", ZIP_DEFLATED) as zip_file:
        for name, data in files.items():
            zip_file.writestr(name, data)
    return buffer.getvalue()


def archive_of_many_entries() -> bytes:
    """60 000 entries of 47 bytes, which would take 50 MB as Python objects."""
    entries = [
        b"PK\x01\x02" + bytes(24) + struct.pack("<HHH", 1, 0, 0) + bytes(12) + b"%c" % (97 + number % 20)
        for number in range(60_000)
    ]
    directory = b"".join(entries)
    end = b"PK\x05\x06" + bytes(4) + struct.pack("<HHIIH", 60_000, 60_000, len(directory), 4, 0)
    return b"PK\x03\x04" + directory + end


@dataclass(frozen=True)
class Case:
    """An input that is refused: with which code and message, and with how little memory."""

    #: Makes what the fields of the request hold: the parameter, and the mask.
    values: Callable[[], Sequence[bytes | str]]
    code: str
    message: str
    model: str = UPSCALER
    param: str = "image"
    max_grown: int = SMALL_FILE_BYTES


def too_large(width: int, height: int) -> str:
    return f"at most 2048x2048 pixels (got {width}x{height})"


BROKEN_PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)
CASES: Mapping[str, Case] = {
    "png": Case(lambda: [large("PNG")], "invalid_image", too_large(*LARGE)),
    "png-turned": Case(
        lambda: [large("PNG", "1", exif=exif(6))], "invalid_image", too_large(*reversed(LARGE))
    ),
    "jpeg": Case(lambda: [large("JPEG")], "invalid_image", too_large(*LARGE)),
    "jpeg-progressive": Case(lambda: [large("JPEG", progressive=True)], "invalid_image", too_large(*LARGE)),
    "gif": Case(lambda: [large("GIF", "P")], "invalid_image", too_large(*LARGE)),
    "gif-cleared": Case(lambda: [gif_that_is_cleared()], "image_too_large", "65535x2700"),
    "webp": Case(lambda: [large("WEBP", "RGB", method=0)], "invalid_image", too_large(*LARGE)),
    "large-mask": Case(
        lambda: [png(64, 64), large("PNG")], "invalid_mask", "as large as `image`", model=INPAINTER
    ),
    # The image alone is within the limits, and takes 60 MB to decode.
    "mask-of-another-size": Case(
        lambda: [encoded(Image.new("RGB", (2048, 2048)), "WEBP", method=0), png(2048, 1024)],
        *("invalid_mask", "2048x1024"),
        model=INPAINTER,
        max_grown=20 * 2**20,
    ),
    "dataset-with-a-broken-header": Case(
        lambda: [archive({"a.png": large("PNG"), "b.png": BROKEN_PNG})],
        *("invalid_dataset", "b.png", TRAINER, "dataset"),
    ),
    "dataset-of-too-many-images": Case(
        lambda: [
            archive({"a.png": large("PNG")} | {f"b{number}.png": png(16, 16) for number in range(1000)})
        ],
        *("invalid_dataset", "1001", TRAINER, "dataset"),
    ),
    "archive-of-too-many-entries": Case(
        lambda: [archive_of_many_entries()],
        *("dataset_too_large", "entries", TRAINER, "dataset"),
        max_grown=10 * 2**20,
    ),
    "base64-with-spaces": Case(
        lambda: ["QUFB \n" * 5_000_000], "unsupported_image_format", "png", max_grown=6 * 30_000_000
    ),
    "percent-encoded": Case(
        lambda: ["data:image/png," + "%41" * 10_000_000],
        *("unsupported_image_format", "png"),
        max_grown=6 * 30_000_000,
    ),
    "percent-signs": Case(
        lambda: ["data:image/png," + "%" * 32_000_000],
        *("unsupported_image_format", "png"),
        max_grown=6 * 32_000_000,
    ),
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The outcome of every case: code, message, and memory in bytes."""
    directory = tmp_path_factory.mktemp("inputs")
    listed = []
    for name, case in CASES.items():
        files = []
        for number, value in enumerate(case.values()):
            file = directory / f"{name}-{number}.{'txt' if isinstance(value, str) else 'bin'}"
            file.write_text(value) if isinstance(value, str) else file.write_bytes(value)
            files.append(str(file))
        listed.append({"model": case.model, "param": case.param, "files": files})
    cases = directory / "cases.json"
    cases.write_text(json.dumps(listed))
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.input_memory", str(cases)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return dict(zip(CASES, map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_refuses_an_input_without_decoding_it(outcomes: dict[str, dict[str, Any]], name: str) -> None:
    case, outcome = CASES[name], outcomes[name]
    assert outcome["code"] == case.code
    assert case.message in outcome["message"]
    assert outcome["grown"] < case.max_grown
