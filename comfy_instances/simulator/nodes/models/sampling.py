"""Nodes that run a model on a real instance: schedules, samplers, VAEs, upscalers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image as PILImage

from comfy_instances.simulator.execution.device import WORKING_BYTES_PER_POSITION, estimate_step_seconds
from comfy_instances.simulator.nodes.call import NodeContext, NodeFunction
from comfy_instances.simulator.nodes.images.images import to_uint8
from comfy_instances.simulator.nodes.images.masks import grow_mask
from comfy_instances.simulator.nodes.images.resizing import resize_batch, resize_planes, scale_to_fit
from comfy_instances.simulator.nodes.models import latents
from comfy_instances.simulator.nodes.models.placeholder_media import (
    generate_placeholder_frames,
    seeded_generator,
)
from comfy_instances.simulator.nodes.models.used_inputs import without_unused_negative, without_unused_seed
from comfy_instances.simulator.nodes.values import (
    FloatArray,
    ImageArray,
    Latent,
    MaskArray,
    OpaqueValue,
    fingerprint,
)

#: Weight of a start or reference image in the result.
REFERENCE_STRENGTH = 0.6
#: Longest side of a preview in pixels.
MAX_PREVIEW_SIDE = 512


def ksampler(
    context: NodeContext, steps: int, cfg: float, denoise: float = 1.0, **inputs: Any
) -> tuple[Latent]:
    latent = inputs["latent_image"]
    digest = fingerprint([steps, cfg, denoise, without_unused_negative({"cfg": cfg, **inputs})])
    made = simulate_sampling(context, digest, steps, denoise, latent, _opaque_values(inputs), guided=cfg != 1)
    return (made,)


def ksampler_advanced(
    context: NodeContext, steps: int, cfg: float, start_at_step: int, end_at_step: int, **inputs: Any
) -> tuple[Latent]:
    """Sample a range of the schedule; a later range continues from the result of an earlier one."""
    end = min(steps, end_at_step)
    used = without_unused_seed(without_unused_negative({"cfg": cfg, **inputs}))
    digest = fingerprint([steps, cfg, start_at_step, end, used])
    strength = 1 - start_at_step / steps
    todo = max(0, end - start_at_step)
    latent = inputs["latent_image"]
    made = simulate_sampling(context, digest, todo, strength, latent, _opaque_values(inputs), guided=cfg != 1)
    return (made,)


def sampler_custom(
    context: NodeContext, sigmas: FloatArray, latent_image: Latent, **inputs: Any
) -> tuple[Latent, Latent]:
    """Sample with custom sigmas. The noisy and the denoised output are the same in the simulator."""
    opaques = _opaque_values(inputs)
    cfg = inputs.get("cfg", next((o.settings["cfg"] for o in opaques if "cfg" in o.settings), 1.0))
    digest = fingerprint([sigmas, latent_image, without_unused_seed(without_unused_negative(inputs))])
    strength = float(np.clip(sigmas[0], 0, 1)) if len(sigmas) else 0.0
    steps = max(0, len(sigmas) - 1)
    made = simulate_sampling(context, digest, steps, strength, latent_image, opaques, guided=cfg != 1)
    return made, made


def simulate_sampling(
    context: NodeContext,
    digest: str,
    steps: int,
    strength: float,
    latent: Latent,
    opaque_values: Iterable[OpaqueValue],
    *,
    guided: bool,
) -> Latent:
    """Generate placeholder media of the latent's shape in simulated steps, and blend it over the latent.

    `strength` 1 replaces the latent, 0 leaves it unchanged; a noise mask limits the change to its white area.
    """
    opaque_values = list(opaque_values)
    model = [weights for opaque in opaque_values for weights in opaque.weights]
    context.device.load_weights(model, working_bytes=latent.positions * WORKING_BYTES_PER_POSITION)
    target = _placeholder_samples(
        digest,
        latent,
        next((o.reference_image for o in opaque_values if o.reference_image is not None), None),
    )
    result = _blend_into_latent(latent, target, strength if steps else 0.0)
    noise = seeded_generator(digest).standard_normal((3, *latent.samples.shape[-2:]), dtype=np.float32)
    seconds = estimate_step_seconds(model, latent.positions, guided)
    for step in range(1, steps + 1):
        context.device.simulate_work(seconds)
        preview = _render_preview(result, noise, step / steps) if context.previews_enabled else None
        context.update_progress(step, steps, preview)
    audio = (
        replace(latent.audio, samples=_placeholder_audio_samples(digest, latent.audio))
        if latent.audio
        else None
    )
    return replace(latent.with_samples(result), noise_mask=None, audio=audio)


def _placeholder_samples(digest: str, latent: Latent, reference_image: FloatArray | None) -> FloatArray:
    """Return [batch, 3, frames, height, width], with different placeholder media for every batch member."""
    batch, height, width = len(latent.samples), *latent.samples.shape[-2:]
    frames = latent.samples.shape[2] if latent.is_video else 1
    members = [digest, *(fingerprint([digest, index]) for index in range(1, batch))]
    placeholders = np.stack(
        [generate_placeholder_frames(member, frames, height, width) for member in members]
    )
    if reference_image is None:
        return placeholders
    like = resize_planes(reference_image, width, height, "bilinear")[None, :, None]
    return placeholders * (1 - REFERENCE_STRENGTH) + like * REFERENCE_STRENGTH


def _blend_into_latent(latent: Latent, target: FloatArray, strength: float) -> FloatArray:
    old = latent.samples
    colours = target if latent.is_video else target[:, :, 0]
    new = old.copy()
    channels = min(3, old.shape[1])
    new[:, :channels] = colours[:, :channels]
    share: FloatArray | float = strength
    if latent.noise_mask is not None:
        share = share * resize_batch(latent.noise_mask[:1], old.shape[-1], old.shape[-2], "bilinear")
    return (old * (1 - share) + new * share).astype(np.float32)


def _placeholder_audio_samples(digest: str, audio_latent: Latent) -> FloatArray:
    return seeded_generator(digest).standard_normal(audio_latent.samples.shape, dtype=np.float32)


def _render_preview(result: FloatArray, noise: FloatArray, progress: float) -> PILImage.Image:
    """Render the first frame as it looks at this point of the sampling."""
    frame = result[0, :3] if result.ndim == 4 else result[0, :3, 0]
    mixed = frame * progress + noise[: len(frame)] * (1 - progress)
    pixels = to_uint8((np.moveaxis(mixed, 0, -1) + 1) / 2)
    preview = PILImage.fromarray(np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels)
    preview.thumbnail((MAX_PREVIEW_SIDE, MAX_PREVIEW_SIDE))
    return preview


def _opaque_values(inputs: Mapping[str, Any]) -> list[OpaqueValue]:
    return [value for value in inputs.values() if isinstance(value, OpaqueValue)]


def make_sigmas(steps: int, denoise: float = 1.0, **shape: Any) -> tuple[FloatArray]:
    """Return `steps` steps from `denoise` to 0, a little uneven: every other input bends the schedule."""
    bend = int(fingerprint(shape), 16) % 1000 / 1000 if shape else 0.0
    return (np.asarray(denoise * np.linspace(1, 0, steps + 1) ** (1 + bend), np.float32),)


def manual_sigmas(sigmas: str) -> tuple[FloatArray]:
    return (np.array([float(number) for number in re.findall(r"[-+]?\d*\.?\d+", sigmas)], np.float32),)


def split_sigmas(sigmas: FloatArray, step: int) -> tuple[FloatArray, FloatArray]:
    return sigmas[: step + 1], sigmas[step:]


def split_sigmas_denoise(sigmas: FloatArray, denoise: float) -> tuple[FloatArray, FloatArray]:
    kept = round((len(sigmas) - 1) * denoise)
    return sigmas[: len(sigmas) - kept], sigmas[len(sigmas) - kept - 1 :]


def flip_sigmas(sigmas: FloatArray) -> tuple[FloatArray]:
    return (sigmas[::-1].copy(),)


def find_vae_geometry(vae: OpaqueValue) -> latents.LatentGeometry:
    return latents.find_latent_geometry(
        " ".join([*(w.name for w in vae.weights), *map(str, vae.settings.values())])
    )


def vae_decode(context: NodeContext, samples: Latent, vae: OpaqueValue, **_: Any) -> tuple[ImageArray]:
    context.device.load_weights(
        vae.weights, working_bytes=samples.positions * WORKING_BYTES_PER_POSITION // 2
    )
    return (latents.decode_latent(samples),)


def vae_encode(context: NodeContext, pixels: ImageArray, vae: OpaqueValue, **_: Any) -> tuple[Latent]:
    context.device.load_weights(vae.weights)
    return (latents.encode_images(pixels, find_vae_geometry(vae)),)


def vae_encode_for_inpaint(
    context: NodeContext, pixels: ImageArray, vae: OpaqueValue, mask: MaskArray, grow_mask_by: int
) -> tuple[Latent]:
    (latent,) = vae_encode(context, pixels, vae)
    return (replace(latent, noise_mask=grow_mask(mask, grow_mask_by, True)[0].round()),)


def upscale_with_model(
    context: NodeContext, upscale_model: OpaqueValue, image: ImageArray
) -> tuple[ImageArray]:
    """Enlarge the image by the factor in the model's name (`4x-UltraSharp`, `..._x2plus`)."""
    context.device.load_weights(upscale_model.weights)
    name = " ".join(weights.name for weights in upscale_model.weights)
    found = re.search(r"(?<!\d)([1-8])x|x([1-8])(?!\d)", name, re.IGNORECASE)
    factor = int(found[1] or found[2]) if found else 4
    context.update_progress(1, 1)
    return (resize_batch(image[..., :3], image.shape[2] * factor, image.shape[1] * factor, "lanczos"),)


def insert_start_frame(
    context: NodeContext,
    vae: OpaqueValue,
    image: ImageArray,
    latent: Latent,
    strength: float,
    bypass: bool = False,
) -> tuple[Latent]:
    """Insert the image, cropped to the shape of the latent, as its first frame."""
    if bypass:
        return (latent,)
    context.device.load_weights(vae.weights)
    height, width = latent.samples.shape[-2:]
    fitted = scale_to_fit(image[:1], width, height, "bilinear", "center")
    frame = np.moveaxis(fitted[..., :3].astype(np.float32) / 127.5 - 1, -1, 1)
    samples = latent.samples.copy()
    start = frame[:, :, None] if latent.is_video else frame
    samples[:, :3] = samples[:, :3] * (1 - strength) + start * strength
    return (latent.with_samples(samples),)


SCHEDULER_NODE_CLASSES = (
    "AlignYourStepsScheduler", "BasicScheduler", "BetaSamplingScheduler", "ExponentialScheduler",
    "Flux2Scheduler", "GITSScheduler", "Ideogram4Scheduler", "KarrasScheduler", "LTXVScheduler",
    "LaplaceScheduler", "OptimalStepsScheduler", "PolyexponentialScheduler", "SDTurboScheduler",
    "VPScheduler",
)  # fmt: skip

NODES: Mapping[str, NodeFunction] = {
    "KSampler": ksampler,
    "KSamplerAdvanced": ksampler_advanced,
    "SamplerCustom": sampler_custom,
    "SamplerCustomAdvanced": sampler_custom,
    **dict.fromkeys(SCHEDULER_NODE_CLASSES, make_sigmas),
    "ManualSigmas": manual_sigmas,
    "SplitSigmas": split_sigmas,
    "SplitSigmasDenoise": split_sigmas_denoise,
    "FlipSigmas": flip_sigmas,
    "VAEDecode": vae_decode,
    "VAEDecodeTiled": vae_decode,
    "VAEEncode": vae_encode,
    "VAEEncodeTiled": vae_encode,
    "VAEEncodeForInpaint": vae_encode_for_inpaint,
    "ImageUpscaleWithModel": upscale_with_model,
    "LTXVImgToVideoInplace": insert_start_frame,
}
