"""A result without a size follows the shape of its first image, in every dialect, and is charged as such."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Mapping
from fractions import Fraction
from typing import Any

import pytest
import pytest_asyncio

from orchestrator.app.openapi_app import build_offline_service
from orchestrator.catalog import Catalog
from orchestrator.catalog.parameters.canvases import has_margins
from orchestrator.errors import InvalidRequest
from orchestrator.intake.request_preparer import PreparedRequest, RequestPreparer
from orchestrator.settings import Settings
from scripts.fuzz.parameters import OWNER, Address, build_addresses
from tests.support.images import png

PORTRAIT = f"data:image/png;base64,{base64.b64encode(png(360, 640)).decode()}"
LANDSCAPE = f"data:image/png;base64,{base64.b64encode(png(640, 360)).decode()}"


#: The catalogue is loaded once for all tests.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def offline() -> AsyncIterator[tuple[RequestPreparer, Catalog]]:
    async with build_offline_service(Settings()) as (_, service):
        yield service.request_preparer, service.catalog


async def prepare(
    preparer: RequestPreparer, address: Address, fields: Mapping[str, Any]
) -> PreparedRequest | None:
    try:
        return await preparer.prepare(address.translate(fields)[1], OWNER)
    except InvalidRequest:
        return None


def bodies(image: str) -> list[dict[str, Any]]:
    """Bodies with one image, in the fields in which the dialects take it."""
    named: list[dict[str, Any]] = [
        {"image": image},
        {"images": [image]},
        {"image_url": image},
        {"image_urls": [image]},
    ]
    named += [{"input_image": image}, {"input_reference": image}]
    return [{"prompt": "a fox", **each} for each in named]


@pytest.mark.exhaustive
async def test_results_have_the_shape_of_their_image(offline: tuple[RequestPreparer, Catalog]) -> None:
    """Where a model takes an image at all; the price is that of the same size asked for."""
    preparer, catalog = offline
    wrong: list[str] = []
    tried: dict[str, set[str]] = {}
    for address in build_addresses(catalog):
        model = catalog[address.model]
        if not model.image_inputs or not model.output_sizes or has_margins(model):
            continue
        for fields in bodies(PORTRAIT):
            made = await prepare(preparer, address, fields)
            if made is None:
                continue
            tried.setdefault(address.name, set()).add(model.id)
            size = (made.params["width"], made.params["height"])
            if abs(Fraction(*size) / Fraction(9, 16) - 1) > 0.02:
                wrong.append(f"{address.name} {model.id} {[*fields][1]}: {size}")
            same = await prepare(preparer, address, {**fields, "width": size[0], "height": size[1]})
            if same is not None and same.quote != made.quote:
                wrong.append(f"{address.name} {model.id}: {made.quote} is not the price of {size}")
    assert wrong == []
    references = {"flux-2-dev", "flux-2-klein-4b", "flux-2-klein-9b", "flux-1-redux-dev", "hidream-o1"}
    for name in ("images/generations", "images/edits", "PixelDojo run", "PixelAPI generate"):
        assert references - {"flux-1-redux-dev"} <= tried[name], name
    assert "flux-1-redux-dev" in tried["images/variations"]
    assert "flux-2-klein-4b" in tried["Pixazo -klein-4b/v1/generateImage"]
    assert "flux-2-dev" in tried["Pixazo /generateT2I"]


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({}, (640, 360)),
        ({"resolution": "0.5 MP"}, (896, 504)),
        ({"resolution": "0.5 MP", "aspect_ratio": "1:1"}, (720, 720)),
        ({"aspect_ratio": "9:16"}, (720, 1280)),
        ({"width": 512, "height": 768}, (512, 768)),
        ({"width": 1280}, (1280, 720)),
    ],
)
@pytest.mark.parametrize(
    "address", ["PixelDojo run", "images/generations", "images/edits", "Pixazo -klein-4b/v1/generateImage"]
)
async def test_a_requested_size_counts(
    offline: tuple[RequestPreparer, Catalog], address: str, fields: dict[str, Any], size: tuple[int, int]
) -> None:
    preparer, catalog = offline
    if address.startswith("Pixazo") and "width" in fields:
        pytest.skip("the endpoint takes four sides only")
    found = next(
        each for each in build_addresses(catalog) if (each.name, each.model) == (address, "flux-2-klein-4b")
    )
    made = await prepare(preparer, found, {"prompt": "a", "images": [LANDSCAPE], **fields})
    assert made is not None
    assert (made.params["width"], made.params["height"]) == size
