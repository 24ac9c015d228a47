"""Errors of hosts' dialects name each field as the caller has sent it, or as the host calls a missing one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from orchestrator.app.openapi_app import build_offline_service
from orchestrator.errors import InvalidRequest, NotFound
from orchestrator.intake.request_preparer import GenerationRequest, PreparedRequest
from orchestrator.service import GenerationService
from orchestrator.settings import Settings
from orchestrator.web.dialects.a1111 import translation as a1111
from orchestrator.web.dialects.a1111.schemas import TextToImageBody
from orchestrator.web.dialects.fal import translation as fal
from orchestrator.web.dialects.fal.apps import find_model_name
from orchestrator.web.dialects.fal.errors import to_error_response as to_fal_error
from orchestrator.web.dialects.huggingface import translation as huggingface
from orchestrator.web.dialects.huggingface.errors import to_error_response as to_hugging_face_error
from orchestrator.web.dialects.huggingface.translation import TextToImageRequest
from orchestrator.web.dialects.replicate import translation as replicate
from orchestrator.web.dialects.replicate.schemas import ModelPredictionBody
from scripts.fuzz.parameters import OWNER, PICTURES
from tests.support.images import base64_png

PICTURE = f"data:image/png;base64,{PICTURES[0]}"


@pytest.fixture
async def service() -> AsyncIterator[GenerationService]:
    async with build_offline_service(Settings()) as (_, offline):
        yield offline


def translate(
    service: GenerationService, host: str, model: str, fields: Mapping[str, Any]
) -> GenerationRequest:
    catalog = service.catalog
    match host:
        case "fal":
            return fal.to_request("fal-ai/x", model, fields, catalog, idempotency_key=None)
        case "replicate":
            target = replicate.RunTarget(name=model, shown="a/b")
            body = ModelPredictionBody(input=dict(fields))
            return replicate.to_request(target, body, catalog, idempotency_key=None, cancel_after=None)
        case "huggingface":
            parameters = dict(fields)
            text = TextToImageRequest(inputs=parameters.pop("inputs"), parameters=parameters)
            return huggingface.to_request(text, catalog, f"pixel-factory/{model}", "", idempotency_key=None)
    asked = TextToImageBody.model_validate(fields)
    return a1111.to_request(asked, catalog, model, {}, idempotency_key=None)


async def prepare(
    service: GenerationService, host: str, model: str, fields: Mapping[str, Any]
) -> PreparedRequest:
    return await service.request_preparer.prepare(translate(service, host, model, fields), OWNER)


@pytest.mark.parametrize(
    ("host", "model", "fields", "param", "said"),
    [
        ("fal", "flux-1-fill-dev", {}, "image_url", "`image_url` is required"),
        ("fal", "qwen-image-edit", {}, "image_urls", "`image_urls` is required"),
        ("fal", "ltx2.3-i2v", {}, "image_url", "`image_url` is required"),
        ("fal", "flux-1-fill-dev", {"image_url": PICTURE}, "mask_url", "`mask_url`, or an `image_url` with"),
        ("fal", "flux-1-fill-dev", {"image": PICTURE}, "mask_url", "a `mask_url`, or an `image` with"),
        ("fal", "flux-1-fill-dev", {"image_url": PICTURE, "mask_url": PICTURE, "mask_channel": "alpha"},
         "mask_url", "`mask_url` must contain transparent pixels"),
        ("fal", "flux-2-dev", {"image_url": "?"}, "image_url", "`image_url`: The image must be base64"),
        ("fal", "flux-2-dev", {"image_urls": [PICTURE, "?"]}, "image_urls[1]", "`image_urls[1]`: The image"),
        ("fal", "flux-2-dev", {"image_url": "?", "image_urls": [PICTURE]}, "image_url", "`image_url`: The"),
        ("fal", "flux-2-dev", {"image_url": PICTURE, "image_urls": ["?"]}, "image_urls", "`image_urls`: The"),
        ("fal", "flux-2-dev", {"image_url": PICTURE, "image_urls": [PICTURE, "?"]}, "image_urls[1]", "The"),
        ("fal", "4x-ultrasharp", {}, "image_url", "`image_url` is required"),
        ("replicate", "flux-2-dev", {"input_image": "?"}, "input_image", "`input_image`: The image"),
        ("replicate", "flux-2-dev", {"image": PICTURE, "input_image_2": "?"}, "input_image_2", "The image"),
        ("replicate", "flux-2-dev", {"image_2": "?", "image_3": PICTURE}, "image_2", "`image_2`: The image"),
        ("replicate", "flux-2-dev", {"input_images": [PICTURE, "?"], "image_4": PICTURE},
         "input_images[1]", "`input_images[1]`: The image"),
        ("replicate", "flux-2-dev", {"reference_images": [PICTURE, "?"], "image_2": PICTURE},
         "reference_images[1]", "`reference_images[1]`: The image"),
        ("replicate", "flux-2-dev", {"start_image": "?"}, "start_image", "`start_image`: The image"),
        ("huggingface", "flux-2-dev", {"inputs": "?"}, "inputs", "`inputs`: The image must be base64"),
        ("huggingface", "flux-1-schnell", {"inputs": "a"}, "prompt", "send the text as `inputs`"),
        ("huggingface", "sdxl-1.0", {"inputs": "?", "prompt": 5}, "prompt", "does not accept input images"),
        ("a1111", "sdxl-1.0", {"batch_size": 40}, "batch_size", "`batch_size` times `n_iter`"),
    ],
)  # fmt: skip
async def test_names_the_field_of_the_caller(
    service: GenerationService, host: str, model: str, fields: dict[str, Any], param: str, said: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await prepare(service, host, model, {"prompt": "a cat", **fields})
    assert (caught.value.param, said in caught.value.message) == (param, True), caught.value.message


async def test_mask_of_another_size_is_compared_with_the_field_of_the_image(
    service: GenerationService,
) -> None:
    fields = {"prompt": "a", "image_url": PICTURE, "mask_url": base64_png(64, 64)}
    with pytest.raises(InvalidRequest, match="`mask_url` must be as large as `image_url`"):
        await prepare(service, "fal", "flux-1-fill-dev", fields)


async def test_a_hugging_face_caller_without_an_image_learns_where_it_belongs(
    service: GenerationService,
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await prepare(service, "huggingface", "qwen-image-edit", {"inputs": "a cat"})
    _, body = to_hugging_face_error(caught.value)
    assert body.field == "inputs"
    assert "send it as `inputs`, and the text as `prompt` in `parameters`" in body.error


async def test_the_web_ui_makes_an_image_of_no_prompt(service: GenerationService) -> None:
    for prompt in ("", "  "):
        prepared = await prepare(service, "a1111", "sdxl-1.0", {"prompt": prompt})
        assert prepared.params["prompt"] == prompt
    with pytest.raises(InvalidRequest, match="Prompt is required"):
        await prepare(service, "replicate", "sdxl-1.0", {"prompt": ""})


async def test_fal_says_what_takes_the_place_of_tokens(service: GenerationService) -> None:
    for path in ("tokens", "tokens/"):
        with pytest.raises(NotFound, match='connectionMode: "server"'):
            find_model_name(service.catalog, path)


@pytest.mark.parametrize(
    ("param", "loc"),
    [
        ("image_urls[1]", ["body", "image_urls", 1]),
        ("prompt", ["body", "prompt"]),
        ("logs", ["query", "logs"]),
    ],
)
def test_fal_writes_the_index_of_an_item_as_a_number(param: str, loc: list[str | int]) -> None:
    _, body = to_fal_error(InvalidRequest("wrong", code="invalid_image", param=param))
    assert [error.loc for error in body.detail if not isinstance(error, str)] == [loc]


async def test_names_the_field_of_a_webhook(service: GenerationService) -> None:
    for host, sent, param in (
        ("replicate", {"webhook": "nowhere"}, "webhook"),
        ("replicate", {"webhook_completed": "nowhere"}, "webhook_completed"),
        ("fal", {}, "fal_webhook"),
    ):
        request = (
            fal.to_request(
                "fal-ai/x", "sdxl-1.0", {"prompt": "a"}, service.catalog,
                idempotency_key=None, webhook_url="nowhere",
            )
            if host == "fal"
            else replicate.to_request(
                replicate.RunTarget(name="sdxl-1.0", shown="a/b"),
                ModelPredictionBody(input={"prompt": "a"}, **sent),
                service.catalog, idempotency_key=None, cancel_after=None,
            )
        )  # fmt: skip
        with pytest.raises(InvalidRequest) as caught:
            await service.request_preparer.prepare(request, OWNER)
        assert caught.value.param == param
        assert f"`{param}` must be an http(s) URL" in caught.value.message
        assert "(got 'nowhere')" in caught.value.message
