"""Images, videos and audio generated from a digest, as placeholders for the output of models."""

from __future__ import annotations

import colorsys

import numpy as np
from numpy.random import Generator

from comfy_instances.simulator.nodes.values import AudioClip, FloatArray

#: Number of shapes in an image.
SHAPE_COUNT = 7
#: Duration of one note in seconds.
NOTE_SECONDS = 0.25


def generate_placeholder_frames(digest: str, frames: int, height: int, width: int) -> FloatArray:
    """Draw soft moving shapes on a gradient: [3, frames, height, width] in -1..1."""
    rng = seeded_generator(digest)
    y = np.linspace(0, 1, height, dtype=np.float32)[None, :, None]
    x = np.linspace(0, width / height, width, dtype=np.float32)[None, None, :]
    t = np.linspace(0, 1, frames, dtype=np.float32)[:, None, None]
    palette = _palette(rng)
    slope = x * np.cos(angle := rng.uniform(0, 2 * np.pi)) + y * np.sin(angle)
    share = (slope - slope.min()) / (np.ptp(slope) + 1e-6) + 0 * t
    image = palette[0][:, None, None, None] * (1 - share) + palette[1][:, None, None, None] * share
    for _ in range(SHAPE_COUNT):
        place, drift = rng.uniform(0, 1, 2), rng.uniform(-0.3, 0.3, 2)
        size, stretch = rng.uniform(0.06, 0.3), rng.uniform(0.6, 1.6)
        across = (x - place[0] * width / height - drift[0] * t) * stretch
        down = y - place[1] - drift[1] * t
        distance = np.sqrt(across**2 + down**2) / size
        cover = 1 / (1 + np.exp(np.clip((distance - 1) * 14, -30, 30)))
        colour = palette[rng.integers(2, len(palette))][:, None, None, None]
        image = image * (1 - cover) + colour * cover
    return np.asarray(image * 2 - 1, np.float32)


def generate_placeholder_audio(digest: str, seconds: float, rate: int = 44_100) -> AudioClip:
    """Generate a stereo sequence of soft notes."""
    rng = seeded_generator(digest)
    time = np.arange(max(1, int(seconds * rate)), dtype=np.float32) / rate
    scale = 220 * 2 ** (np.array([0, 2, 4, 7, 9, 12]) / 12)
    notes = rng.choice(scale, size=int(seconds / NOTE_SECONDS) + 1)
    index = (time / NOTE_SECONDS).astype(int)
    fade = np.exp(-6 * (time / NOTE_SECONDS - index))
    voices = [np.sin(2 * np.pi * notes[index] * octave * time) for octave in (1.0, 1.5)]
    tune = 0.3 * fade * np.stack(voices)
    return AudioClip(waveform=tune[None].astype(np.float32), sample_rate=rate)


def seeded_generator(digest: str) -> Generator:
    """Return a random generator that depends only on the digest."""
    return np.random.default_rng(int(digest, 16))


def _palette(rng: Generator) -> FloatArray:
    """Return six matching colours, [6, 3] in 0..1: ground, sky, and four for shapes."""
    hue = rng.uniform()
    tones = [
        (hue, 0.5, 0.25), (hue + 0.08, 0.35, 0.85), (hue + 0.5, 0.8, 0.9), (hue + 0.58, 0.6, 0.7),
        (hue + 0.33, 0.7, 0.8), (hue + 0.12, 0.2, 0.97),
    ]  # fmt: skip
    return np.array([colorsys.hsv_to_rgb(h % 1, s, v) for h, s, v in tones], np.float32)
