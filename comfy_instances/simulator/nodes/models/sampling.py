"""Nodes that a real instance runs a model for: schedules, samplers, VAEs, upscalers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image as Pictures

from comfy_instances.simulator.execution.device import WORKING_BYTES, step_seconds
from comfy_instances.simulator.nodes.call import Call, NodeFunction
from comfy_instances.simulator.nodes.images.images import to_bytes
from comfy_instances.simulator.nodes.images.masks import grow
from comfy_instances.simulator.nodes.images.resizing import resize, resize_planes
from comfy_instances.simulator.nodes.models import latents
from comfy_instances.simulator.nodes.models.placeholder_media import dream, generator
from comfy_instances.simulator.nodes.values import (
    Floats,
    Image,
    Latent,
    Mask,
    Opaque,
    fingerprint,
)

#: How much of a start image or reference shows in what is made from it.
LIKENESS = 0.6
#: Longest side of a preview in pixels.
PREVIEW_SIZE = 512


def ksampler(call: Call, steps: int, cfg: float, denoise: float = 1.0, **inputs: Any) -> tuple[Latent]:
    latent = inputs["latent_image"]
    digest = fingerprint([steps, cfg, denoise, inputs])
    made = sample(call, digest, steps, denoise, latent, _opaques(inputs), guided=cfg != 1)
    return (made,)


def ksampler_advanced(
    call: Call, steps: int, cfg: float, start_at_step: int, end_at_step: int, **inputs: Any
) -> tuple[Latent]:
    """A stretch of a schedule; what later stretches make builds on the earlier ones' result."""
    end = min(steps, end_at_step)
    digest = fingerprint([steps, cfg, start_at_step, end, inputs])
    strength = 1 - start_at_step / steps
    todo = max(0, end - start_at_step)
    latent = inputs["latent_image"]
    made = sample(call, digest, todo, strength, latent, _opaques(inputs), guided=cfg != 1)
    return (made,)


def sampler_custom(call: Call, sigmas: Floats, latent_image: Latent, **inputs: Any) -> tuple[Latent, Latent]:
    """Both outputs, the noisy and the denoised, are the same here."""
    opaques = _opaques(inputs)
    cfg = inputs.get("cfg", next((o.settings["cfg"] for o in opaques if "cfg" in o.settings), 1.0))
    digest = fingerprint([sigmas, latent_image, inputs])
    strength = float(np.clip(sigmas[0], 0, 1)) if len(sigmas) else 0.0
    steps = max(0, len(sigmas) - 1)
    made = sample(call, digest, steps, strength, latent_image, opaques, guided=cfg != 1)
    return made, made


def sample(
    call: Call,
    digest: str,
    steps: int,
    strength: float,
    latent: Latent,
    opaques: Iterable[Opaque],
    *,
    guided: bool,
) -> Latent:
    """Dream a picture of the latent's shape, one simulated step at a time, and lay it over the latent.

    `strength` 1 covers it, 0 leaves it; a noise mask limits it to where the mask is white.
    """
    opaques = list(opaques)
    model = [weights for opaque in opaques for weights in opaque.weights]
    call.device.use(model, working=latent.positions * WORKING_BYTES)
    target = _target(digest, latent, next((o.picture for o in opaques if o.picture is not None), None))
    result = _laid_over(latent, target, strength if steps else 0.0)
    noise = generator(digest).standard_normal((3, *latent.samples.shape[-2:]), dtype=np.float32)
    seconds = step_seconds(model, latent.positions, guided)
    for step in range(1, steps + 1):
        call.device.spend(seconds)
        picture = _preview(result, noise, step / steps) if call.previews else None
        call.progress(step, steps, picture)
    audio = replace(latent.audio, samples=_sounding(digest, latent.audio)) if latent.audio else None
    return replace(latent.with_samples(result), noise_mask=None, audio=audio)


def _target(digest: str, latent: Latent, picture: Floats | None) -> Floats:
    """[batch, 3, frames, height, width]; every member of the batch is another dream."""
    batch, height, width = len(latent.samples), *latent.samples.shape[-2:]
    frames = latent.samples.shape[2] if latent.is_video else 1
    members = [digest, *(fingerprint([digest, index]) for index in range(1, batch))]
    dreams = np.stack([dream(member, frames, height, width) for member in members])
    if picture is None:
        return dreams
    like = resize_planes(picture, width, height, "bilinear")[None, :, None]
    return dreams * (1 - LIKENESS) + like * LIKENESS


def _laid_over(latent: Latent, target: Floats, strength: float) -> Floats:
    old = latent.samples
    colours = target if latent.is_video else target[:, :, 0]
    new = old.copy()
    channels = min(3, old.shape[1])
    new[:, :channels] = colours[:, :channels]
    share: Floats | float = strength
    if latent.noise_mask is not None:
        share = share * resize(latent.noise_mask[:1], old.shape[-1], old.shape[-2], "bilinear")
    return (old * (1 - share) + new * share).astype(np.float32)


def _sounding(digest: str, audio: Latent) -> Floats:
    return generator(digest).standard_normal(audio.samples.shape, dtype=np.float32)


def _preview(result: Floats, noise: Floats, done: float) -> Pictures.Image:
    """The first frame as it would look with part of the work done."""
    frame = result[0, :3] if result.ndim == 4 else result[0, :3, 0]
    mixed = frame * done + noise[: len(frame)] * (1 - done)
    pixels = to_bytes((np.moveaxis(mixed, 0, -1) + 1) / 2)
    picture = Pictures.fromarray(np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels)
    picture.thumbnail((PREVIEW_SIZE, PREVIEW_SIZE))
    return picture


def _opaques(inputs: Mapping[str, Any]) -> list[Opaque]:
    return [value for value in inputs.values() if isinstance(value, Opaque)]


def schedule(steps: int, denoise: float = 1.0, **_: Any) -> tuple[Floats]:
    """`steps` even steps from `denoise` down to 0; what a sampler makes of them is all that counts here."""
    return (np.linspace(denoise, 0, steps + 1, dtype=np.float32),)


def manual_sigmas(sigmas: str) -> tuple[Floats]:
    return (np.array([float(number) for number in re.findall(r"[-+]?\d*\.?\d+", sigmas)], np.float32),)


def split_sigmas(sigmas: Floats, step: int) -> tuple[Floats, Floats]:
    return sigmas[: step + 1], sigmas[step:]


def split_sigmas_denoise(sigmas: Floats, denoise: float) -> tuple[Floats, Floats]:
    kept = round((len(sigmas) - 1) * denoise)
    return sigmas[: len(sigmas) - kept], sigmas[len(sigmas) - kept - 1 :]


def flip_sigmas(sigmas: Floats) -> tuple[Floats]:
    return (sigmas[::-1].copy(),)


def vae_geometry(vae: Opaque) -> latents.Geometry:
    return latents.geometry(" ".join([*(w.name for w in vae.weights), *map(str, vae.settings.values())]))


def vae_decode(call: Call, samples: Latent, vae: Opaque, **_: Any) -> tuple[Image]:
    call.device.use(vae.weights, working=samples.positions * WORKING_BYTES // 2)
    return (latents.decode(samples),)


def vae_encode(call: Call, pixels: Image, vae: Opaque, **_: Any) -> tuple[Latent]:
    call.device.use(vae.weights)
    return (latents.encode(pixels, vae_geometry(vae)),)


def vae_encode_for_inpaint(
    call: Call, pixels: Image, vae: Opaque, mask: Mask, grow_mask_by: int
) -> tuple[Latent]:
    (latent,) = vae_encode(call, pixels, vae)
    return (replace(latent, noise_mask=grow(mask, grow_mask_by, True)[0].round()),)


def upscale_with_model(call: Call, upscale_model: Opaque, image: Image) -> tuple[Image]:
    """The picture itself, enlarged by the factor in the model's name (`4x-UltraSharp`, `..._x2plus`)."""
    call.device.use(upscale_model.weights)
    name = " ".join(weights.name for weights in upscale_model.weights)
    found = re.search(r"(?<!\d)([1-8])x|x([1-8])(?!\d)", name, re.IGNORECASE)
    factor = int(found[1] or found[2]) if found else 4
    call.progress(1, 1)
    return (resize(image[..., :3], image.shape[2] * factor, image.shape[1] * factor, "lanczos"),)


def start_frame_in_place(
    call: Call, vae: Opaque, image: Image, latent: Latent, strength: float, bypass: bool = False
) -> tuple[Latent]:
    """The latent with the picture as its first frame, and only the rest open to change."""
    if bypass:
        return (latent,)
    call.device.use(vae.weights)
    height, width = latent.samples.shape[-2:]
    frame = np.moveaxis(resize(image[:1], width, height)[..., :3].astype(np.float32) / 127.5 - 1, -1, 1)
    samples = latent.samples.copy()
    start = frame[:, :, None] if latent.is_video else frame
    samples[:, :3] = samples[:, :3] * (1 - strength) + start * strength
    return (latent.with_samples(samples),)


SCHEDULERS = (
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
    **dict.fromkeys(SCHEDULERS, schedule),
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
    "LTXVImgToVideoInplace": start_frame_in_place,
}
