"""Edits of a part of an image keep all other pixels, and its transparency where the model can."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Mapping
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from PIL import Image

from orchestrator.app.openapi_app import build_offline_service
from orchestrator.catalog.parameters.canvases import has_margins
from orchestrator.intake.request_preparer import GenerationRequest, RequestPreparer
from orchestrator.settings import Settings
from scripts.fuzz.parameters import OWNER
from tests.support.media_samples import gradient
from tests.support.shipped import SHIPPED_CATALOG
from tests.unit.simulator.simulator_bench import ExecutorHarness

MASKED = [model.id for model in SHIPPED_CATALOG if "mask" in model.parameters]
OUTPAINTING = [model.id for model in SHIPPED_CATALOG if has_margins(model)]
UPSCALING = [model.id for model in SHIPPED_CATALOG if model.kind == "upscale"]
#: Pixels at the edge of an area that may be blended into it.
SOFT_EDGE = 16

#: The catalogue is loaded once for all tests.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def preparer() -> AsyncIterator[RequestPreparer]:
    async with build_offline_service(Settings()) as (_, service):
        yield service.request_preparer


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


async def make(
    preparer: RequestPreparer, bench: ExecutorHarness, model: str, **params: Any
) -> np.ndarray[Any, Any]:
    """Prepare a request, run its graph and return the pixels of its only result."""
    if "prompt" in SHIPPED_CATALOG[model].parameters:
        params = {"prompt": "a hat", **params}
    prepared = await preparer.prepare(GenerationRequest(model=model, params=params), OWNER)
    names = {key: key.replace("/", "-") for key in prepared.files}
    for key, name in names.items():
        (bench.folders.input / name).write_bytes(prepared.files[key].data)
    graph = prepared.model.render_graph(
        {**_renamed(prepared.params, names), "seed": 7}, filename_prefix="made"
    )
    (path,) = bench.saved_paths(bench.run_graph(graph))
    with Image.open(path) as image:
        return np.asarray(image)


def _renamed(params: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {
        name: names.get(value, value) if isinstance(value, str) else value for name, value in params.items()
    }


def area(size: tuple[int, int]) -> tuple[int, int, int, int]:
    return size[0] // 2, size[1] // 4, size[0] * 3 // 4, size[1] // 2


def marks(size: tuple[int, int], way: str) -> dict[str, Any]:
    """The image, and what marks the area to edit in one of the ways that requests have."""
    image = gradient(*size)
    hole = Image.new("L", size, 255)
    hole.paste(0, area(size))
    if way == "image":
        image.putalpha(hole)
        return {"image": png(image)}
    if way == "alpha":
        mask = Image.new("RGBA", size, "black")
        mask.putalpha(hole)
        return {"image": png(image), "mask": png(mask)}
    white = Image.new("RGB", size, "black")
    white.paste((255, 255, 255), area(size))
    return {"image": png(image), "mask": png(white), "mask_channel": "red"}


@pytest.mark.parametrize("model", MASKED)
@pytest.mark.parametrize("way", ["image", "alpha", "red"])
@pytest.mark.parametrize("size", [(256, 192), (301, 203)], ids=str)
async def test_pixels_outside_the_mask_are_those_of_the_image(
    preparer: RequestPreparer, bench: ExecutorHarness, model: str, way: str, size: tuple[int, int]
) -> None:
    made = await make(preparer, bench, model, steps=1, **marks(size, way))
    before = np.asarray(gradient(*size))
    assert made.shape[:2] == before.shape[:2]
    left, top, right, bottom = area(size)
    kept = np.ones(before.shape[:2], bool)
    kept[top - SOFT_EDGE : bottom + SOFT_EDGE, left - SOFT_EDGE : right + SOFT_EDGE] = False
    assert np.array_equal(made[..., :3][kept], before[kept])
    assert not np.array_equal(made[top:bottom, left:right, :3], before[top:bottom, left:right])


@pytest.mark.parametrize("model", OUTPAINTING)
@pytest.mark.parametrize("margins", [(64, 0, 128, 0), (0, 32, 0, 64), (8, 16, 24, 32)], ids=str)
async def test_outpainting_keeps_the_image(
    preparer: RequestPreparer, bench: ExecutorHarness, model: str, margins: tuple[int, int, int, int]
) -> None:
    left, top, right, bottom = margins
    sides = {"left": left, "top": top, "right": right, "bottom": bottom}
    made = await make(preparer, bench, model, steps=1, image=png(gradient(256, 192)), **sides)
    assert made.shape[:2] == (192 + top + bottom, 256 + left + right)
    feather = 24
    inner = made[top + feather : top + 192 - feather, left + feather : left + 256 - feather, :3]
    assert np.array_equal(inner, np.asarray(gradient(256, 192))[feather:-feather, feather:-feather])


@pytest.mark.parametrize("model", UPSCALING)
async def test_upscaling_keeps_the_transparency(
    preparer: RequestPreparer, bench: ExecutorHarness, model: str
) -> None:
    image = gradient(96, 64, "RGBA")
    image.paste((9, 9, 9, 0), (0, 0, 48, 32))
    image.paste((9, 9, 9, 128), (48, 32, 96, 64))
    scale = SHIPPED_CATALOG[model].manifest.scale
    assert scale is not None
    made = await make(preparer, bench, model, image=png(image))
    assert made.shape == (64 * scale, 96 * scale, 4)
    corners = made[8 :: 64 * scale - 17, 8 :: 96 * scale - 17, 3].tolist()
    assert corners == [[0, 255], [255, 128]]
    for mode in ("RGB", "RGBA"):
        opaque = await make(preparer, bench, model, image=png(gradient(96, 64, mode)))
        assert opaque.shape == (64 * scale, 96 * scale, 3)


async def test_a_cutout_keeps_what_is_transparent(preparer: RequestPreparer, bench: ExecutorHarness) -> None:
    """A hole in the middle of the subject; without it, the middle is opaque."""
    image = gradient(96, 64, "RGBA")
    whole = await make(preparer, bench, "birefnet-cutout", image=png(image))
    image.paste((9, 9, 9, 0), (40, 24, 56, 40))
    made = await make(preparer, bench, "birefnet-cutout", image=png(image))
    assert (whole[32, 48, 3], made[32, 48, 3]) == (255, 0)
    assert (whole[32, 30, 3], made[32, 30, 3]) == (255, 255)
    assert (whole[0, 0, 3], made[0, 0, 3]) == (0, 0)
