"""Which masks lie over their picture."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.errors import InvalidRequest
from orchestrator.intake.masks import check_mask
from orchestrator.media.input_images import InputImage


def picture(width: int = 64, height: int = 64, *, has_alpha: bool = False) -> InputImage:
    return InputImage(
        data=b"", content_type="image/png", width=width, height=height, sha256="", has_alpha=has_alpha
    )


@pytest.mark.parametrize(
    ("mask", "params"),
    [
        (None, {}),
        (picture(has_alpha=True), {}),
        (picture(has_alpha=True), {"mask_channel": "alpha"}),
        (picture(), {"mask_channel": "red"}),
    ],
)
def test_right_masks(mask: InputImage | None, params: dict[str, Any]) -> None:
    check_mask(picture(), mask, params)


@pytest.mark.parametrize(
    ("mask", "params"),
    [
        (picture(), {}),
        (picture(), {"mask_channel": "alpha"}),
        (picture(32, 64, has_alpha=True), {}),
        (picture(64, 32), {"mask_channel": "red"}),
    ],
)
def test_wrong_masks(mask: InputImage, params: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_mask(picture(), mask, params)
    assert (refused.value.code, refused.value.param) == ("invalid_mask", "mask")


def test_a_mask_without_a_picture_is_somebody_elses_business() -> None:
    check_mask(None, picture(), {})
