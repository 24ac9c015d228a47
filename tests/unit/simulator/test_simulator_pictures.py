"""Utility nodes do real work on pictures, masks and latents."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from comfy_instances.simulator.execution.device import OutOfMemoryError
from comfy_instances.simulator.nodes import texts
from comfy_instances.simulator.nodes.images import frame_memory, images, masks, scaling
from comfy_instances.simulator.nodes.images.resizing import check_array_size, resize_batch
from comfy_instances.simulator.nodes.models import latents
from comfy_instances.simulator.nodes.values import Latent, fingerprint

RED, BLUE = [255, 0, 0], [0, 0, 255]


def halves(width: int = 8, height: int = 4) -> Any:
    """Red on the left, blue on the right."""
    picture = np.zeros((1, height, width, 3), np.uint8)
    picture[:, :, : width // 2] = RED
    picture[:, :, width // 2 :] = BLUE
    return picture


@pytest.mark.parametrize(
    ("made", "size"),
    [
        (scaling.scale_image(halves(), "area", 16, 16, "disabled"), (16, 16)),
        (scaling.scale_image(halves(), "area", 16, 0, "disabled"), (16, 8)),
        (scaling.scale_image(halves(), "area", 0, 0, "disabled"), (8, 4)),
        (scaling.scale_image_by(halves(), "lanczos", 2.5), (20, 10)),
        (scaling.scale_image_to_total_pixels(halves(), "bicubic", 0.5), (1024, 512)),
        (scaling.scale_image_to_total_pixels(halves(), "bicubic", 0.5, 100), (1000, 500)),
        (scaling.scale_image_to_max_dimension(halves(), "area", 32), (32, 16)),
        (scaling.resize_by_shorter_edge(halves(), 32), (64, 32)),
        (scaling.scale_image_for_kontext(halves()), (1456, 720)),
        (scaling.resize_and_pad(halves(), 10, 10, "white", "area"), (10, 10)),
        (scaling.resize_image_or_mask(halves(), {"resize_type": "x", "multiplier": 3.0}, "area"), (24, 12)),
        (scaling.resize_image_or_mask(halves(), {"resize_type": "x", "longer_size": 4}, "area"), (4, 2)),
        (scaling.resize_image_or_mask(halves(), {"resize_type": "x", "shorter_size": 8}, "area"), (16, 8)),
        (scaling.resize_image_or_mask(halves(), {"resize_type": "x", "multiple": 3}, "area"), (6, 3)),
        (images.stitch_images(halves(), "right", True, 2, "white", halves(4, 8)), (12, 4)),
        (images.stitch_images(halves(), "down", False, 0, "white", halves(4, 8)), (8, 12)),
    ],
)
def test_images_have_the_requested_size(made: tuple[Any, ...], size: tuple[int, int]) -> None:
    assert made[0].shape[2:0:-1] == size


def test_cropping_to_the_middle_keeps_the_proportions() -> None:
    (made,) = scaling.scale_image(halves(16, 4), "nearest-exact", 4, 4, "center")
    assert made[0, 0].tolist() == [RED, RED, BLUE, BLUE]


def test_colours_survive_turning_flipping_and_cutting() -> None:
    assert images.flip_image(halves(), "y-axis: horizontally")[0][0, 0, 0].tolist() == BLUE
    assert images.rotate_image(halves(), "90 degrees")[0].shape == (1, 8, 4, 3)
    assert images.rotate_image(halves(), "90 degrees")[0][0, 0, 0].tolist() == RED
    assert images.crop_image(halves(), 2, 2, 100, 0)[0].tolist() == [[[BLUE], [BLUE]]]
    assert images.invert_image(halves())[0][0, 0, 0].tolist() == [0, 255, 255]


def test_batches_take_the_first_ones_size_and_alpha() -> None:
    with_alpha = np.concatenate([halves(4, 4), np.full((1, 4, 4, 1), 9, np.uint8)], axis=3)
    (made,) = images.batch_images({"image0": halves(), "image1": with_alpha})
    assert made.shape == (2, 4, 8, 4)
    assert made[0, 0, 0].tolist() == [*RED, 255]
    assert images.image_from_batch(made, -1, 5)[0].shape == (1, 4, 8, 4)
    assert images.repeat_image(made, 3)[0].shape == (6, 4, 8, 4)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("normal", 200), ("multiply", 78), ("screen", 221), ("overlay", 157), ("difference", 0)],
)
def test_blends_two_images(mode: str, expected: int) -> None:
    below, above = (np.full((1, 2, 2, 3), value, np.uint8) for value in (100, 200))
    assert images.blend_images(below, above, 1.0, mode)[0][0, 0, 0, 0] == pytest.approx(expected, abs=1)
    assert images.blend_images(below, above, 0.0, mode)[0][0, 0, 0, 0] == 100


def test_blur_and_noise_change_an_image_and_nothing_leaves_the_range() -> None:
    assert images.blur_image(halves(), 2, 2.0)[0][0, 0, 4].tolist() != BLUE
    assert images.blur_image(halves(), 0, 2.0)[0] is not None
    noisy, again = (images.add_image_noise(halves(), 3, 0.5)[0] for _ in range(2))
    assert noisy.tobytes() == again.tobytes() != halves().tobytes()
    assert images.adjust_brightness(halves(), 3.0)[0].max() == 255


def test_a_mask_decides_what_is_pasted() -> None:
    mask = np.zeros((1, 4, 8), np.float32)
    mask[:, :2] = 1
    white = np.full((1, 4, 8, 3), 255, np.uint8)
    (made,) = masks.composite_images_masked(halves(), white, 0, 0, False, mask)
    assert made[0, 0, 0].tolist() == [255] * 3
    assert made[0, 3, 0].tolist() == RED
    (shifted,) = masks.composite_images_masked(halves(), white, -6, 3, False)
    assert (shifted[0, 3, 1].tolist(), shifted[0, 3, 2].tolist()) == ([255] * 3, RED)


@pytest.mark.parametrize(
    ("operation", "expected"),
    [("multiply", 0.0), ("add", 1.0), ("subtract", 1.0), ("and", 0.0), ("or", 1.0), ("xor", 1.0)],
)
def test_masks_combine(operation: str, expected: float) -> None:
    white, black = masks.solid_mask(1.0, 4, 4)[0], masks.solid_mask(0.0, 2, 2)[0]
    (made,) = masks.combine_masks(white, black, 0, 0, operation)
    assert (made[0, 0, 0], made[0, 3, 3]) == (expected, 1.0)


def test_masks_grow_shrink_feather_and_come_from_colours() -> None:
    mask = np.zeros((1, 9, 9), np.float32)
    mask[0, 3:6, 3:6] = 1
    assert masks.grow_mask(mask, 1, True)[0].sum() == 25
    assert masks.grow_mask(mask, -1, True)[0].sum() == 1
    assert masks.feather_mask(np.ones((1, 4, 4), np.float32), 2, 0, 0, 0)[0][0, 0].tolist() == [0.5, 1, 1, 1]
    assert masks.mask_from_color(halves(), 0xFF0000)[0].sum() == 16
    assert masks.mask_from_image(halves(), "blue")[0].sum() == 16
    assert masks.threshold_mask(mask, 0.5)[0].sum() == 9


def test_alpha_is_what_a_mask_hides() -> None:
    (joined,) = masks.join_image_alpha(halves(), masks.solid_mask(0.25, 8, 4)[0])
    picture, mask = masks.split_image_alpha(joined)
    assert picture.tolist() == halves().tolist()
    assert mask[0, 0, 0] == pytest.approx(0.25, abs=0.01)


def test_padding_for_outpainting_marks_what_is_new() -> None:
    padded, mask = masks.pad_image_for_outpaint(halves(40, 40), 8, 0, 0, 4, 10)
    assert (padded.shape, mask.shape) == ((1, 44, 48, 3), (1, 44, 48))
    assert (mask[0, 20, 0], mask[0, 43, 20], mask[0, 10, 40]) == (1, 1, 0)
    assert 0 < mask[0, 20, 10] < 1


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("EmptyLatentImage", (1, 4, 16, 32)),
        ("EmptySD3LatentImage", (1, 16, 16, 32)),
        ("EmptyFlux2LatentImage", (1, 128, 8, 16)),
    ],
)
def test_empty_latents_have_their_familys_shape(name: str, shape: tuple[int, ...]) -> None:
    assert latents.empty_latent(256, 128, None, 1, latents.find_latent_geometry(name)).samples.shape == shape


@pytest.mark.parametrize(
    ("name", "length", "shape", "frames"),
    [
        ("EmptyHunyuanLatentVideo", 81, (1, 16, 21, 8, 16), 81),
        ("EmptyLTXVLatentVideo", 121, (1, 128, 16, 2, 4), 121),
        ("Wan22ImageToVideoLatent", 49, (1, 48, 13, 4, 8), 49),
        ("EmptyHunyuanLatentVideo", 10, (1, 16, 3, 8, 16), 9),
    ],
)
def test_videos_fold_in_time_and_unfold_again(
    name: str, length: int, shape: tuple[int, ...], frames: int
) -> None:
    latent = latents.empty_latent(128, 64, length, 1, latents.find_latent_geometry(name))
    assert latent.samples.shape == shape
    assert latents.decode_latent(latent).shape == (frames, 64, 128, 3)


def test_an_image_comes_back_from_a_latent_and_from_pixel_space_exactly() -> None:
    picture = halves(64, 64)
    blurred = latents.decode_latent(latents.encode_images(picture, latents.LatentGeometry()))
    assert np.abs(blurred.astype(int) - picture)[0, 32, [8, 56]].max() < 8
    exact = latents.decode_latent(latents.encode_images(picture, latents.find_latent_geometry("pixel_space")))
    assert np.abs(exact.astype(int) - picture).max() <= 1


def test_latents_are_resized_cut_joined_and_mixed() -> None:
    one = latents.encode_images(halves(64, 32), latents.LatentGeometry())
    other = Latent(samples=np.ones_like(one.samples))
    assert latents.upscale_latent(one, "bislerp", 128, 0, "disabled")[0].samples.shape == (1, 4, 8, 16)
    assert latents.upscale_latent_by(one, "area", 2.0)[0].samples.shape == (1, 4, 8, 16)
    assert latents.crop_latent(one, 32, 32, 0, 0)[0].samples.shape == (1, 4, 4, 4)
    assert latents.rotate_latent(one, "90 degrees")[0].samples.shape == (1, 4, 8, 4)
    assert latents.batch_two_latents(one, other)[0].samples.shape == (2, 4, 4, 8)
    assert latents.blend_latents(one, other, 0.0)[0].samples.tolist() == other.samples.tolist()
    assert latents.subtract_latents(one, one)[0].samples.any() == np.False_
    assert latents.composite_latents(one, other, 32, 0, 0)[0].samples[0, 0, 0].tolist()[4:] == [1, 1, 1, 1]


def test_arrays_too_large_for_us_are_out_of_memory() -> None:
    with pytest.raises(OutOfMemoryError):
        images.empty_image(16384, 16384, 4096)
    with pytest.raises(OutOfMemoryError):
        scaling.scale_image_by(np.zeros((8, 4096, 4096, 3), np.uint8)[:, :64, :64], "area", 300.0)
    check_array_size(1024, 1024, 3)


def test_the_longest_videos_of_models_have_memory() -> None:
    frames_of_12_seconds = frame_memory.allocate_frames(289, 1280, 768, 3)
    assert isinstance(frames_of_12_seconds, np.memmap)
    frames_of_12_seconds[288] = 7
    assert frames_of_12_seconds[288].mean() == 7
    frame_memory.check_frames_size(505, 1088, 1920, 3)
    assert not isinstance(frame_memory.allocate_frames(8, 64, 64, 3), np.memmap)


def test_a_long_batch_is_resized_on_disk() -> None:
    frames = resize_batch(np.full((97, 20, 12, 3), 127, np.uint8), 768, 1280, "nearest-exact")
    assert isinstance(frames, np.memmap)
    assert {int(frames[0].mean()), int(frames[96].mean())} == {127}


def test_collects_more_frames_than_a_file_declares() -> None:
    frames = [np.full((4, 6, 3), value, np.uint8) for value in range(7)]
    for declared in (0, 3, 7, 20):
        assert frame_memory.collect_frames(iter(frames), declared, 4, 6, 3)[:, 0, 0, 0].tolist() == [
            *range(7)
        ]


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("a + b * 2", 8.0), ("(a + b) / 2", 2.5), ("max(a, b) // 2", 1.0), ("-a % 3", 1.0),
        ("b if a > 5 else round(a * 1.6)", 3.0), ("a <= 2", 1.0), ("sqrt(16) + floor(2.7)", 6.0),
    ],
)  # fmt: skip
def test_evaluates_expressions(expression: str, result: float) -> None:
    assert texts.evaluate_expression(expression, {"a": 2, "b": 3}) == result


@pytest.mark.parametrize(
    "expression", ["__import__('os')", "a.real", "[a]", "'x' * a", "a ** 99", "c", "lambda: a"]
)
def test_other_expressions_are_refused(expression: str) -> None:
    with pytest.raises(ValueError, match="can not evaluate"):
        texts.evaluate_expression(expression, {"a": 2})


def test_different_values_have_different_fingerprints() -> None:
    values: list[Any] = [
        1, 1.5, "1", True, None, [1], {"a": 1}, {"a": 2}, halves(), halves(8, 8), np.zeros(3, np.float32),
        Latent(samples=np.zeros((1, 4, 2, 2), np.float32)), Latent(samples=np.ones((1, 4, 2, 2), np.float32)),
    ]  # fmt: skip
    assert len({fingerprint(value) for value in values}) == len(values)
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1})
