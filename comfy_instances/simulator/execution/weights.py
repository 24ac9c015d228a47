"""Sizes of the weight files that graphs name, to simulate memory use and load times."""

from __future__ import annotations

from dataclasses import dataclass

GIGABYTE = 10**9

#: Part of a file name -> size in gigabytes. The first match counts, so specific parts come first.
KNOWN_SIZES_GB = (
    ("lora", 0.7), ("ultrasharp", 0.067), ("realesrgan", 0.067), ("spatial-upscaler", 1.0),
    ("taesd", 0.005), ("pixel_space", 0.0), ("wan2.2_vae", 1.41), ("hunyuanvideo15_vae", 2.52),
    ("vae", 0.3), ("ae.safetensors", 0.335), ("decoder", 0.25),
    ("clip_vision", 1.26), ("sigclip", 0.86), ("clip_l", 0.25), ("clip_g", 1.39), ("byt5", 0.44),
    ("t5xxl_fp16", 9.79), ("t5xxl", 5.16), ("umt5_xxl_fp16", 11.4), ("umt5", 6.74),
    ("mistral_3_small_flux2_bf16", 35.6), ("mistral", 18.0), ("gemma", 9.45), ("llava", 9.09),
    ("llama", 9.1), ("qwen_3_4b", 8.04), ("qwen_3_8b", 8.67), ("qwen_2.5", 9.38),
    ("flux1-dev-kontext", 11.9), ("flux1-schnell-fp8", 17.2), ("flux1-dev-fp8", 17.2),
    ("krea-dev_fp8", 11.9), ("redux", 0.13), ("flux1", 23.8), ("flux2", 35.5), ("klein", 9.8),
    ("sd_xl", 6.94), ("sdxl", 6.94), ("v1-5", 2.1),
    ("t2v_1.3b", 2.84), ("ti2v_5b", 10.0), ("14b_fp8", 14.3), ("i2v_480p_14b", 32.8),
    ("i2v_720p_14b", 32.8), ("14b", 28.6), ("ltx-2-19b-dev-fp8", 27.1), ("ltx-2-19b-distilled-fp8", 27.1),
    ("ltx-2-19b", 43.3), ("ltx-2.3", 29.1), ("cogvideo", 11.0), ("hunyuan_video_t2v_720p", 25.6),
    ("hunyuanvideo1.5", 16.7), ("hidream", 17.1), ("z_image", 12.3), ("hunyuan3d", 7.37),
    ("qwen_image", 20.4), ("fp8", 12.0),
)  # fmt: skip
#: Size in gigabytes of a file that matches none of these.
DEFAULT_SIZE_GB = 6.0


@dataclass(frozen=True, slots=True)
class SimulatedWeightFile:
    """A weight file and its size."""

    name: str
    #: Size in bytes, both on disk and in GPU memory.
    size_bytes: int


def lookup_weight_file(name: str) -> SimulatedWeightFile:
    """Return the file of that name, with its known size or the default size."""
    lower = name.lower()
    gigabytes = next((size for part, size in KNOWN_SIZES_GB if part in lower), DEFAULT_SIZE_GB)
    return SimulatedWeightFile(name, int(gigabytes * GIGABYTE))
