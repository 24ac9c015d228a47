"""Masks must fit their image and mark an area."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.errors import InvalidRequest
from orchestrator.intake.input_reader import check_mask, check_mask_size
from orchestrator.media.inputs.input_images import InputImage, InspectedImage


def image(width: int = 64, height: int = 64, *, alpha: int | None = None, red: int = 255) -> InputImage:
    """An image whose most transparent pixel has this alpha, and whose reddest pixel so much red."""
    return InputImage(
        data=b"",
        content_type="image/png",
        width=width,
        height=height,
        sha256="",
        has_alpha=alpha is not None,
        least_alpha=255 if alpha is None else alpha,
        most_red=red,
    )


@pytest.mark.parametrize(
    ("mask", "params"),
    [
        (None, {}),
        (image(alpha=0), {}),
        (image(alpha=0, red=0), {"mask_channel": "alpha"}),
        (image(alpha=128), {}),
        (image(), {"mask_channel": "red"}),
        (image(alpha=255, red=1), {"mask_channel": "red"}),
    ],
)
def test_accepts_valid_masks(mask: InputImage | None, params: dict[str, Any]) -> None:
    check_mask(image(), mask, params)


@pytest.mark.parametrize(
    ("mask", "params"),
    [
        (image(), {}),
        (image(), {"mask_channel": "alpha"}),
        (image(alpha=255), {}),
        (image(alpha=255), {"mask_channel": "alpha"}),
        (image(red=0), {"mask_channel": "red"}),
        (image(alpha=0, red=0), {"mask_channel": "red"}),
    ],
)
def test_rejects_invalid_masks(mask: InputImage, params: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_mask(image(), mask, params)
    assert (refused.value.code, refused.value.param) == ("invalid_mask", "mask")


def test_ignores_a_mask_without_an_image() -> None:
    check_mask(None, image(), {})


def inspected(width: int, height: int) -> InspectedImage:
    return InspectedImage(data=b"", content_type="image/png", width=width, height=height, orientation=1)


@pytest.mark.parametrize("size", [(32, 64), (64, 32), (65, 64)])
def test_rejects_masks_of_another_size(size: tuple[int, int]) -> None:
    with pytest.raises(InvalidRequest, match=r"64x64 pixels \(got") as refused:
        check_mask_size(inspected(64, 64), inspected(*size))
    assert (refused.value.code, refused.value.param) == ("invalid_mask", "mask")


def test_accepts_masks_of_the_same_size() -> None:
    check_mask_size(inspected(64, 32), inspected(64, 32))
    check_mask_size(None, inspected(64, 32))
    check_mask_size(inspected(64, 32), None)
