"""What each dialect says about input images that are transparent or animated, and masks that mark nothing."""

from __future__ import annotations

import base64
import io
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
import pytest_asyncio
from PIL import Image

from orchestrator.app.openapi_app import build_offline_service
from orchestrator.catalog import Catalog
from orchestrator.catalog.tasks import TaskModels
from orchestrator.errors import InvalidRequest
from orchestrator.intake.request_preparer import PreparedRequest, RequestPreparer
from orchestrator.settings import Settings
from orchestrator.web.dialects.openai.image_bodies import ImageEditBody
from orchestrator.web.dialects.openai.images import to_edit_request
from orchestrator.web.dialects.request_body import parse_body
from scripts.fuzz.parameters import OWNER, Address, build_addresses
from tests.support.media_samples import animation

STAND_INS: Mapping[str, TaskModels] = {
    "dall-e-2": TaskModels(generate="sdxl-1.0", edit="flux-1-kontext-dev", mask="flux-1-fill-dev"),
    "gpt-image-1": TaskModels(generate="qwen-image", edit="qwen-image-edit", mask="qwen-image-edit-inpaint"),
    "edits-only": TaskModels(edit="flux-1-kontext-dev"),
}

Offline = tuple[RequestPreparer, Catalog]

#: The catalogue is loaded once for all tests.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def offline() -> AsyncIterator[Offline]:
    async with build_offline_service(Settings()) as (_, service):
        live = service.request_preparer.live_catalog
        live.catalog = live.catalog.with_stand_ins(STAND_INS)
        yield service.request_preparer, live.catalog


def data_url(data: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def picture(alpha: int | None, kind: str = "PNG", colour: str = "teal") -> str:
    """A picture of 256x256; where `alpha` is given, with a hole of that alpha."""
    image = Image.new("RGB" if alpha is None else "RGBA", (256, 256), colour)
    if alpha is not None:
        image.paste((0, 128, 128, alpha), (64, 64, 128, 128))
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return data_url(buffer.getvalue(), kind.lower())


HOLE, OPAQUE, PLAIN = picture(0), picture(255), picture(None)
MOVING = data_url(animation("GIF"), "gif")


def find(catalog: Catalog, name: str, model: str) -> Address:
    return next(each for each in build_addresses(catalog) if (each.name, each.model) == (name, model))


async def edit(offline: Offline, **fields: Any) -> PreparedRequest:
    preparer, catalog = offline
    body = parse_body(ImageEditBody, {"prompt": "a fox", **fields})
    return await preparer.prepare(to_edit_request(body, catalog, form=False, idempotency_key=None), OWNER)


def about_transparency(prepared: PreparedRequest) -> list[str]:
    return [text for text in prepared.request.warnings if "transparency" in text]


# ------------------------------------------------------------------- transparency in place of a mask


@pytest.mark.parametrize(
    ("name", "edits", "fills"),
    [
        ("dall-e-2", "flux-1-kontext-dev", "flux-1-fill-dev"),
        ("gpt-image-1", "qwen-image-edit", "qwen-image-edit-inpaint"),
        (None, "flux-1-kontext-dev", "flux-1-fill-dev"),
    ],
)
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF"])
async def test_transparent_areas_take_the_place_of_a_mask(
    offline: Offline, name: str | None, edits: str, fills: str, kind: str
) -> None:
    named = {"model": name} if name else {}
    filled = await edit(offline, **named, image=picture(0, kind))
    assert filled.model.id == fills
    assert about_transparency(filled) == []
    for whole in (OPAQUE, PLAIN):
        edited = await edit(offline, **named, image=whole)
        assert edited.model.id == edits
        assert about_transparency(edited) == []


async def test_the_price_and_the_steps_are_those_of_the_model_that_fills(offline: Offline) -> None:
    for name in ("dall-e-2", "gpt-image-1"):
        filled = await edit(offline, model=name, image=HOLE, quality="high", size="512x512", n=2)
        model = filled.model
        masked = await edit(offline, model=name, image=PLAIN, mask=HOLE, quality="high", size="512x512", n=2)
        assert masked.model is model
        assert filled.quote == masked.quote
        assert filled.params["steps"] == round(1.5 * model.default_steps)
        assert (filled.params["width"], filled.params["height"], filled.params["n"]) == (512, 512, 2)
        assert filled.request.model == name


async def test_the_first_of_several_images_decides(offline: Offline) -> None:
    filled = await edit(offline, model="gpt-image-1", image=[HOLE, PLAIN])
    assert filled.model.id == "qwen-image-edit-inpaint"
    edited = await edit(offline, model="gpt-image-1", image=[PLAIN, HOLE])
    assert edited.model.id == "qwen-image-edit"
    assert len(about_transparency(edited)) == 1


async def test_warns_where_no_model_of_the_name_fills(offline: Offline) -> None:
    for name in ("edits-only", "flux-1-kontext-dev", "qwen-image-edit", "flux-2-dev"):
        (warning,) = about_transparency(await edit(offline, model=name, image=HOLE))
        assert warning.startswith("the transparency of `image` has no effect: ")
        assert about_transparency(await edit(offline, model=name, image=OPAQUE)) == []


async def test_warns_where_a_mask_takes_its_place(offline: Offline) -> None:
    filled = await edit(offline, model="flux-1-fill-dev", image=HOLE, mask=picture(0, colour="red"))
    assert len(about_transparency(filled)) == 1


async def test_other_dialects_fill_transparent_areas_too(offline: Offline) -> None:
    preparer, catalog = offline
    for name in ("images/generations", "PixelDojo run", "PixelAPI generate"):
        found = find(catalog, name, "flux-1-fill-dev")
        as_stand_in = next(each for each in addresses_of(catalog, "gpt-image-1") if each.name == name)
        for image, model in ((HOLE, "qwen-image-edit-inpaint"), (PLAIN, "qwen-image-edit")):
            _, request = as_stand_in.translate({"prompt": "a fox", "image": image})
            assert (await preparer.prepare(request, OWNER)).model.id == model, name
        _, request = found.translate({"prompt": "a fox", "image": HOLE})
        assert about_transparency(await preparer.prepare(request, OWNER)) == [], name


def addresses_of(catalog: Catalog, name: str) -> list[Address]:
    """The addresses that take the name of a model in the body or the path, for another name."""

    class Named:
        """Stands for the name in the list of models."""

        id = name
        kind = catalog[name].kind

    class OneName:
        def __iter__(self) -> Any:
            return iter([Named()])

        def __contains__(self, other: object) -> bool:
            return False

        def __getattr__(self, attribute: str) -> Any:
            return getattr(catalog, attribute)

    return list(build_addresses(OneName()))  # type: ignore[arg-type]


@pytest.mark.exhaustive
async def test_every_parameter_for_images_warns_of_ignored_transparency(offline: Offline) -> None:
    """Alone or in a list, in every dialect: a warning, or a graph that depends on the alpha channel."""
    preparer, catalog = offline
    warned: dict[str, set[str]] = {}
    for address in build_addresses(catalog):
        model = catalog[address.model]
        for fields in image_bodies(HOLE):
            prepared = await prepare(preparer, address, fields)
            if prepared is None:
                continue
            texts = about_transparency(prepared)
            if texts:
                assert len(texts) == 1
                warned.setdefault(address.name, set()).add(model.id)
            else:
                graph = prepared.model.render_graph({**prepared.params, "seed": 0}, filename_prefix="x")
                loaders = {id for id, node in graph.items() if node["class_type"] == "LoadImage"}
                links = [value for node in graph.values() for value in node["inputs"].values()]
                assert any(isinstance(link, list) and link[0] in loaders and link[1] == 1 for link in links)
    assert "wan2.2-i2v-14b" in warned["PixelDojo run"]
    assert "flux-1-redux-dev" in warned["images/variations"]
    assert "flux-2-dev" in warned["images/generations"]
    assert "wan2.2-i2v-14b" in warned["videos"]
    assert any(name.startswith("Pixazo") for name in warned)
    assert "PixelAPI generate" in warned


@pytest.mark.parametrize("model", ["4x-ultrasharp", "creative-upscale"])
async def test_warns_where_the_format_loses_the_transparency(offline: Offline, model: str) -> None:
    """An opaque image may become a JPEG; a transparent one too, but not without a word."""
    preparer, catalog = offline
    address = find(catalog, "images/generations", model)
    for image, output_format, count in (
        (HOLE, "jpeg", 1),
        (HOLE, "webp", 0),
        (HOLE, None, 0),
        (PLAIN, "jpeg", 0),
        (OPAQUE, "jpeg", 0),
    ):
        _, request = address.translate({"image": image, "output_format": output_format})
        warnings = about_transparency(await preparer.prepare(request, OWNER))
        assert len(warnings) == count
        assert all("becomes white" in text for text in warnings)


# ------------------------------------------------------------------------------------------ animations


def image_bodies(image: str) -> list[dict[str, Any]]:
    """Bodies with one image, in the fields in which the dialects take it."""
    named: list[dict[str, Any]] = [{"image": image}, {"images": [image]}, {"input_reference": image}]
    named += [{"image_url": image}, {"image_urls": [image]}, {"input_image": image}]
    return [{"prompt": "a fox", **each} for each in named]


async def prepare(
    preparer: RequestPreparer, address: Address, fields: Mapping[str, Any]
) -> PreparedRequest | None:
    try:
        return await preparer.prepare(address.translate(fields)[1], OWNER)
    except InvalidRequest:
        return None


@pytest.mark.parametrize(("kind", "options"), [("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {})])
async def test_every_dialect_warns_of_animations(
    offline: Offline, kind: str, options: dict[str, Any]
) -> None:
    preparer, catalog = offline
    moving = data_url(animation(kind, **options), kind.lower())
    tried: set[str] = set()
    models = ("flux-2-klein-4b", "wan2.2-5b", "flux-1-redux-dev", "4x-ultrasharp")
    for address in build_addresses(catalog):
        for fields in image_bodies(moving) if address.model in models else ():
            prepared = await prepare(preparer, address, fields)
            if prepared is not None:
                texts = [text for text in prepared.request.warnings if "animation" in text]
                assert len(texts) == 1, (address.name, fields, prepared.request.warnings)
                assert texts[0].endswith("is an animation, of which only the first frame is used")
                tried.add(address.name)
    assert tried >= {"images/generations", "images/edits", "images/variations", "videos", "PixelDojo run"}
    assert any(name.startswith("Pixazo") for name in tried)


# ------------------------------------------------------------------------------- masks that mark nothing


@pytest.mark.parametrize("name", ["images/generations", "images/edits", "PixelDojo run", "PixelAPI generate"])
@pytest.mark.parametrize("model", ["flux-1-fill-dev", "qwen-image-edit-inpaint"])
@pytest.mark.parametrize(
    ("mask", "channel"),
    [(OPAQUE, None), (PLAIN, None), (OPAQUE, "alpha"), (picture(None, colour="black"), "red")],
    ids=["opaque", "no alpha", "opaque alpha", "black"],
)
async def test_every_dialect_rejects_masks_that_mark_nothing(
    offline: Offline, name: str, model: str, mask: str, channel: str | None
) -> None:
    preparer, catalog = offline
    fields: dict[str, Any] = {"prompt": "a fox", "image": PLAIN, "mask": mask}
    if channel is not None:
        fields["mask_channel"] = channel
    _, request = find(catalog, name, model).translate(fields)
    with pytest.raises(InvalidRequest, match="they mark the area to edit") as refused:
        await preparer.prepare(request, OWNER)
    assert refused.value.param == "mask"


@pytest.mark.parametrize("model", ["flux-1-fill-dev", "qwen-image-edit-inpaint"])
async def test_rejects_an_opaque_image_without_a_mask(offline: Offline, model: str) -> None:
    for image in (OPAQUE, PLAIN):
        with pytest.raises(InvalidRequest) as refused:
            await edit(offline, model=model, image=image)
        assert refused.value.code == "missing_mask"
