"""Formats that cannot hold the frames or the transparency of a model's images are refused beforehand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.catalog import Catalog
from orchestrator.errors import InvalidRequest
from orchestrator.media.formats import ImageEncoding
from orchestrator.web.dialects.image_formats import check_image_format, format_for_run
from tests.support.drafts import parse, saving
from tests.support.shipped import SHIPPED_CATALOG

MANIFEST = """
id = "made"
name = "Made"
kind = "image"
owner = "tests"
architecture = "sdxl"
description = "For tests."
created = 2026-01-01
license = "MIT"
max_resolution = "512x512"
price_class = "sdxl-1.0"

[parameters]

[[outputs]]
node = "save"
media = "image"

[requires]
comfyui = "0.33.0"

[resources]
vram_bytes = 1
load_seconds = 1.0
step_seconds = 1.0
fixed_seconds = 1.0
"""


def catalog(folder: Path, save: dict[str, Any]) -> Catalog:
    graph = {
        "image": {
            "class_type": "EmptyImage",
            "inputs": {"width": 64, "height": 64, "batch_size": 4, "color": 0},
        },
        "mask": {"class_type": "SolidMask", "inputs": {"value": 1.0, "width": 64, "height": 64}},
        "cut": {"class_type": "JoinImageWithAlpha", "inputs": {"image": ["image", 0], "alpha": ["mask", 0]}},
        "save": save,
    }
    model = folder / "made"
    model.mkdir()
    (model / "model.toml").write_text(MANIFEST)
    (model / "graph.json").write_text(json.dumps(graph))
    return Catalog.load(folder)


def saved(class_type: str, source: str = "image", **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": {"images": [source, 0], "filename_prefix": "x", **inputs}}


@pytest.mark.parametrize(
    ("save", "reason"),
    [
        (saved("SaveAnimatedWEBP", fps=6.0, lossless=True, quality=80, method="default"), "several frames"),
        (saved("SaveAnimatedPNG", fps=6.0, compress_level=4), "several frames"),
        (saved("VHS_VideoCombine", frame_rate=8, format="image/webp"), "several frames"),
        (saved("SaveImage", "cut"), "transparent pixels"),
    ],
)
def test_rejects_jpeg_for_what_it_cannot_hold(tmp_path: Path, save: dict[str, Any], reason: str) -> None:
    model = catalog(tmp_path, save)["made"]
    with pytest.raises(InvalidRequest, match=reason) as caught:
        check_image_format(model, ImageEncoding("image/jpeg", 80))
    assert caught.value.param == "output_format"
    for content_type in ("image/webp", "image/png"):
        check_image_format(model, ImageEncoding(content_type))
    check_image_format(model, None)


def test_accepts_jpeg_for_a_single_opaque_image(tmp_path: Path) -> None:
    check_image_format(catalog(tmp_path, saved("SaveImage"))["made"], ImageEncoding("image/jpeg"))


def test_a_transparent_background_needs_a_format_that_holds_it() -> None:
    model = SHIPPED_CATALOG["birefnet-cutout"]
    with pytest.raises(InvalidRequest, match="transparent background"):
        check_image_format(model, ImageEncoding("image/jpeg"))
    check_image_format(model, ImageEncoding("image/jpeg"), "opaque")


@pytest.mark.parametrize(
    ("class_type", "wanted", "stored"),
    [
        ("SaveImage", "jpeg", None),
        ("SaveImageAdvanced", "jpeg", "image/jpeg"),
        ("SaveImageAdvanced", "webp", "image/webp"),
        ("SaveImageAdvanced", "png", "image/png"),
        ("SaveAnimatedWEBP", "png", "image/png"),
        ("SaveAnimatedPNG", "webp", "image/webp"),
        ("SaveImage", "webp", None),
    ],
)
def test_stores_the_format_where_only_the_run_shows_the_frames(
    class_type: str, wanted: str, stored: str | None
) -> None:
    graph = saving()
    graph["save"] = graph["save"] | {"class_type": class_type}
    found = format_for_run(parse(graph), ImageEncoding(f"image/{wanted}", None, default_quality=100))
    assert (found and found.content_type) == stored
    assert found is None or found.quality == 100
