"""Errors name the model that was asked for, not the one that serves it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.catalog.tasks import TaskModels
from orchestrator.errors import InvalidRequest
from orchestrator.intake.model_names import name_model
from orchestrator.web.dialects.openai import images, videos
from orchestrator.web.dialects.openai.image_bodies import ImageEditBody, ImageGenerationBody
from orchestrator.web.dialects.pixel_factory import translation as pixel_factory
from orchestrator.web.dialects.pixeldojo import translation as pixeldojo
from orchestrator.web.dialects.request_body import parse_body
from tests.support.shipped import SHIPPED_CATALOG

CATALOG = SHIPPED_CATALOG.with_stand_ins(
    {
        "painter": TaskModels(
            generate="qwen-image",
            edit="flux-1-kontext-dev",
            mask="flux-1-kontext-dev",
            video="wan2.1-t2v-fast",
        ),
        "drawer": "flux-1-dev",
        "plain": "qwen-image",
    }
)


def generate(**fields: Any) -> object:
    return pixel_factory.to_request(
        parse_body(ImageGenerationBody, fields), CATALOG, form=False, idempotency_key=None
    )


def edit(**fields: Any) -> object:
    return images.to_edit_request(
        parse_body(ImageEditBody, fields), CATALOG, form=False, idempotency_key=None
    )


def film(**fields: Any) -> object:
    return videos.to_request(
        parse_body(videos.VideoCreateBody, fields), CATALOG, form=False, idempotency_key=None
    )


def run(*, model: str, **fields: Any) -> object:
    return pixeldojo.to_request(model, parse_body(pixeldojo.RunBody, fields), CATALOG, idempotency_key=None)


@pytest.mark.parametrize(
    ("translate", "fields", "message"),
    [
        (edit, {"model": "painter", "image": ["a", "b", "c"]}, "Model painter accepts at most 1 input image"),
        (edit, {"model": "painter", "image": "a", "mask": "b"}, "Model painter does not accept a `mask`"),
        (edit, {"model": "plain", "image": "a"}, "Model plain does not accept input images"),
        (generate, {"model": "painter", "foo": 1}, "Model painter has no parameter `foo`"),
        (generate, {"model": "drawer", "stpes": 1}, "Model drawer has no parameter `stpes`; did you mean"),
        (film, {"model": "painter", "foo": 1}, "Model painter has no parameter `foo`"),
        (film, {"model": "drawer"}, "Model drawer does not make videos"),
        (run, {"model": "drawer", "stpes": 1}, "Model drawer has no parameter `stpes`; did you mean"),
        (run, {"model": "flux-1-dev", "stpes": 1}, "Model flux-1-dev has no parameter `stpes`"),
    ],
)
def test_names_the_model_that_was_asked_for(
    translate: Callable[..., object], fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidRequest) as raised:
        translate(prompt="a", **fields)
    assert raised.value.message.startswith(message)


def test_suggestions_keep_the_ids_of_other_models() -> None:
    with pytest.raises(InvalidRequest) as raised:
        edit(prompt="a", model="plain", image="a")
    assert "; use one of: flux-1-kontext-dev, qwen-image-edit, " in raised.value.message


def test_longer_ids_and_unknown_names_stay_as_they_are() -> None:
    text = "qwen-image-edit is not qwen-image."
    assert name_model(text, "plain", CATALOG) == "qwen-image-edit is not plain."
    for name in (None, "qwen-image", "no-such-model"):
        assert name_model(text, name, CATALOG) == text


def test_an_endpoint_has_the_name_of_its_document() -> None:
    text = "flux-1-dev-image-to-image, or flux-dev-image-to-image, takes one image"
    named = name_model(text, "flux-dev-image-to-image", CATALOG, "flux-dev")
    assert named == "flux-dev, or flux-dev, takes one image"
