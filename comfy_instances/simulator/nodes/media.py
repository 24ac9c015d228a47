"""Nodes for video and sound."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from comfy_instances.simulator.nodes.call import Call, NodeFunction
from comfy_instances.simulator.nodes.files.containers import cut
from comfy_instances.simulator.nodes.images.resizing import check_size
from comfy_instances.simulator.nodes.models.placeholder_media import sound
from comfy_instances.simulator.nodes.models.stand_in import SOUND_RATE
from comfy_instances.simulator.nodes.values import Audio, Image, Latent, Opaque, Video, fingerprint


def create_video(images: Image, fps: float, audio: Audio | None = None, bit_depth: int = 8) -> tuple[Video]:
    return (Video(images, Fraction(fps), audio),)


def components(video: Video) -> tuple[Image, Audio | None, float, int]:
    return video.frames, video.audio, float(video.rate), 8


def trim_video(
    video: Video, start_time: float, duration: float, strict_duration: bool = False
) -> tuple[Video]:
    frames = cut(video.frames, video.rate, start_time, duration)
    if len(frames) == 0 or (strict_duration and len(frames) < int(duration * video.rate)):
        raise ValueError("Failed to slice video")
    return (replace(video, frames=frames),)


def empty_audio(duration: float, sample_rate: int, channels: int) -> tuple[Audio]:
    samples = round(duration * sample_rate)
    check_size(channels, samples, itemsize=4)
    return (Audio(np.zeros((1, channels, samples), np.float32), sample_rate),)


def decode_audio(call: Call, samples: Latent, vae: Opaque | None = None, **more: Any) -> tuple[Audio]:
    """A tune as long as the latent, of which every note depends on the latent."""
    coder = vae or more["audio_vae"]
    call.device.use(coder.weights)
    return (sound(fingerprint(samples), samples.samples.shape[-1] / SOUND_RATE),)


def trim_audio(audio: Audio, start_index: float, duration: float) -> tuple[Audio]:
    first = round(start_index * audio.rate)
    if first < 0:
        first += audio.waveform.shape[-1]
    return (replace(audio, waveform=audio.waveform[..., first : first + round(duration * audio.rate)]),)


def concatenate_audio(audio1: Audio, audio2: Audio, direction: str) -> tuple[Audio]:
    pair = [audio1.waveform, audio2.waveform]
    return (replace(audio1, waveform=np.concatenate(pair if direction == "after" else pair[::-1], axis=-1)),)


def adjust_volume(audio: Audio, volume: int) -> tuple[Audio]:
    """`volume` in decibels."""
    return (replace(audio, waveform=(audio.waveform * 10 ** (volume / 20)).astype(np.float32)),)


NODES: Mapping[str, NodeFunction] = {
    "CreateVideo": create_video,
    "GetVideoComponents": components,
    "Video Slice": trim_video,
    "EmptyAudio": empty_audio,
    "VAEDecodeAudio": decode_audio,
    "VAEDecodeAudioTiled": decode_audio,
    "LTXVAudioVAEDecode": decode_audio,
    "TrimAudioDuration": trim_audio,
    "AudioConcat": concatenate_audio,
    "AudioAdjustVolume": adjust_volume,
}
