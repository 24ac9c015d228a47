"""Masks must fit their image and mark an area."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.errors import InvalidRequest
from orchestrator.intake.input_reader import check_mask
from orchestrator.media.input_images import InputImage


def image(width: int = 64, height: int = 64, *, has_alpha: bool = False) -> InputImage:
    return InputImage(
        data=b"", content_type="image/png", width=width, height=height, sha256="", has_alpha=has_alpha
    )


@pytest.mark.parametrize(
    ("mask", "params"),
    [
        (None, {}),
        (image(has_alpha=True), {}),
        (image(has_alpha=True), {"mask_channel": "alpha"}),
        (image(), {"mask_channel": "red"}),
    ],
)
def test_accepts_valid_masks(mask: InputImage | None, params: dict[str, Any]) -> None:
    check_mask(image(), mask, params)


@pytest.mark.parametrize(
    ("mask", "params"),
    [
        (image(), {}),
        (image(), {"mask_channel": "alpha"}),
        (image(32, 64, has_alpha=True), {}),
        (image(64, 32), {"mask_channel": "red"}),
    ],
)
def test_rejects_invalid_masks(mask: InputImage, params: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_mask(image(), mask, params)
    assert (refused.value.code, refused.value.param) == ("invalid_mask", "mask")


def test_ignores_a_mask_without_an_image() -> None:
    check_mask(None, image(), {})
