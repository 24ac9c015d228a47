"""Launch flags and preferred weight variants per kind of device, from `gpu_profiles.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from comfy_instances.hardware.gpus import Gpu

PROFILES_FILE = Path(__file__).with_name("gpu_profiles.toml")


@dataclass(frozen=True, kw_only=True, slots=True)
class GpuProfile:
    """What fits one kind of device."""

    name: str
    #: Added to ComfyUI's command line.
    flags: tuple[str, ...]
    #: Variants of weights, the best first.
    weights: tuple[str, ...]
    #: Least compute capability; None fits the CPU too.
    capability: tuple[int, int] | None = None
    #: Least memory in bytes.
    memory: int = 0

    def fits(self, gpu: Gpu | None) -> bool:
        """`gpu` None is the CPU."""
        if gpu is None:
            return self.capability is None
        enough = self.memory == 0 or (gpu.memory_total is not None and gpu.memory_total >= self.memory)
        return self.capability is not None and gpu.capability >= self.capability and enough


def load_gpu_profiles(path: Path = PROFILES_FILE) -> list[GpuProfile]:
    """Raises OSError, tomllib.TOMLDecodeError, KeyError or ValueError for a broken file."""
    return [_parse_profile(entry) for entry in tomllib.loads(path.read_text("utf-8"))["profile"]]


def select_gpu_profile(gpu: Gpu | None, profiles: Sequence[GpuProfile]) -> GpuProfile:
    """The first profile that fits; a card that none fits is launched with ComfyUI's own defaults."""
    for profile in profiles:
        if profile.fits(gpu):
            return profile
    return GpuProfile(name="default", flags=(), weights=("fp16", "bf16", "fp8"))


def _parse_profile(entry: dict[str, object]) -> GpuProfile:
    known = {"name", "capability", "memory_gb", "flags", "weights"}
    if unknown := entry.keys() - known:
        raise ValueError(f"GPU profile {entry.get('name')}: unknown fields {', '.join(sorted(unknown))}")
    capability = entry.get("capability")
    return GpuProfile(
        name=str(entry["name"]),
        flags=_parse_strings(entry["flags"]),
        weights=_parse_strings(entry["weights"]),
        capability=None if capability is None else _parse_capability(str(capability)),
        memory=int(float(str(entry.get("memory_gb", 0))) * 1e9),
    )


def _parse_strings(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError(f"expected a list of strings, not {value!r}")
    return tuple(str(item) for item in value)


def _parse_capability(text: str) -> tuple[int, int]:
    major, minor = text.split(".")
    return int(major), int(minor)
