"""Nodes for video and audio."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from comfy_instances.simulator.nodes.call import NodeContext, NodeFunction
from comfy_instances.simulator.nodes.files.containers import slice_frames
from comfy_instances.simulator.nodes.images.resizing import check_array_size
from comfy_instances.simulator.nodes.models.placeholder_media import generate_placeholder_audio
from comfy_instances.simulator.nodes.models.stand_in import AUDIO_POSITIONS_PER_SECOND
from comfy_instances.simulator.nodes.values import (
    AudioClip,
    ImageArray,
    Latent,
    OpaqueValue,
    VideoClip,
    fingerprint,
)


def create_video(
    images: ImageArray, fps: float, audio: AudioClip | None = None, bit_depth: int = 8
) -> tuple[VideoClip]:
    return (VideoClip(images, Fraction(fps), audio),)


def get_video_components(video: VideoClip) -> tuple[ImageArray, AudioClip | None, float, int]:
    return video.frames, video.audio, float(video.frame_rate), 8


def slice_video(
    video: VideoClip, start_time: float, duration: float, strict_duration: bool = False
) -> tuple[VideoClip]:
    frames = slice_frames(video.frames, video.frame_rate, start_time, duration)
    if len(frames) == 0 or (strict_duration and len(frames) < int(duration * video.frame_rate)):
        raise ValueError("Failed to slice video")
    return (replace(video, frames=frames),)


def sample_frames(video: VideoClip, num_frames: int, strategy: str, seed: int) -> tuple[VideoClip]:
    """Return a clip of that many frames: from all of it, its head or tail, or at random."""
    count = len(video.frames)
    match strategy:
        case "head":
            places = np.arange(num_frames)
        case "tail":
            places = np.arange(count - num_frames, count)
        case "random":
            places = np.sort(np.random.default_rng(seed).integers(0, count, num_frames))
        case _:
            places = np.linspace(0, count - 1, num_frames).round().astype(int)
    return (replace(video, frames=video.frames[np.clip(places, 0, count - 1)]),)


def empty_audio(duration: float, sample_rate: int, channels: int) -> tuple[AudioClip]:
    samples = round(duration * sample_rate)
    check_array_size(channels, samples, itemsize=4)
    return (AudioClip(np.zeros((1, channels, samples), np.float32), sample_rate),)


def decode_audio(
    context: NodeContext, samples: Latent, vae: OpaqueValue | None = None, **more: Any
) -> tuple[AudioClip]:
    """Decode a latent to placeholder audio of its duration; every note depends on the latent."""
    coder = vae or more["audio_vae"]
    context.device.load_weights(coder.weights)
    return (
        generate_placeholder_audio(
            fingerprint(samples), samples.samples.shape[-1] / AUDIO_POSITIONS_PER_SECOND
        ),
    )


def trim_audio(audio: AudioClip, start_index: float, duration: float) -> tuple[AudioClip]:
    first = round(start_index * audio.sample_rate)
    if first < 0:
        first += audio.waveform.shape[-1]
    return (
        replace(audio, waveform=audio.waveform[..., first : first + round(duration * audio.sample_rate)]),
    )


def concatenate_audio(audio1: AudioClip, audio2: AudioClip, direction: str) -> tuple[AudioClip]:
    pair = [audio1.waveform, audio2.waveform]
    return (replace(audio1, waveform=np.concatenate(pair if direction == "after" else pair[::-1], axis=-1)),)


def adjust_volume(audio: AudioClip, volume: int) -> tuple[AudioClip]:
    """Change the volume by `volume` decibels."""
    return (replace(audio, waveform=(audio.waveform * 10 ** (volume / 20)).astype(np.float32)),)


NODES: Mapping[str, NodeFunction] = {
    "CreateVideo": create_video,
    "GetVideoComponents": get_video_components,
    "Video Slice": slice_video,
    "VideoFrameSample": sample_frames,
    "EmptyAudio": empty_audio,
    "VAEDecodeAudio": decode_audio,
    "VAEDecodeAudioTiled": decode_audio,
    "LTXVAudioVAEDecode": decode_audio,
    "TrimAudioDuration": trim_audio,
    "AudioConcat": concatenate_audio,
    "AudioAdjustVolume": adjust_volume,
}
