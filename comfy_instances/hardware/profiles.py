"""Launch flags and preferred weight variants for each kind of device, from `gpu_profiles.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from comfy_instances.hardware.gpus import Gpu

PROFILES_FILE = Path(__file__).with_name("gpu_profiles.toml")


@dataclass(frozen=True, kw_only=True, slots=True)
class GpuProfile:
    """Launch flags and weight variants for the devices with enough compute capability and memory."""

    name: str
    #: Added to ComfyUI's command line.
    flags: tuple[str, ...]
    #: Weight variants, best first.
    weights: tuple[str, ...]
    #: Minimum compute capability; None: the profile is for the CPU.
    capability: tuple[int, int] | None = None
    #: Minimum memory in bytes.
    memory: int = 0

    def fits(self, gpu: Gpu | None) -> bool:
        """Whether the profile suits a GPU, or the CPU if `gpu` is None."""
        if gpu is None:
            return self.capability is None
        enough = self.memory == 0 or (gpu.memory_total is not None and gpu.memory_total >= self.memory)
        return self.capability is not None and gpu.capability >= self.capability and enough


def load_gpu_profiles(path: Path = PROFILES_FILE) -> list[GpuProfile]:
    """Read the profiles. Raises OSError, TOMLDecodeError, KeyError or ValueError for an invalid file."""
    return [_parse_profile(entry) for entry in tomllib.loads(path.read_text("utf-8"))["profile"]]


def select_gpu_profile(gpu: Gpu | None, profiles: Sequence[GpuProfile]) -> GpuProfile:
    """Return the first profile that fits, or one with ComfyUI's own defaults if none does."""
    for profile in profiles:
        if profile.fits(gpu):
            return profile
    return GpuProfile(name="default", flags=(), weights=("fp16", "bf16", "fp8"))


def _parse_profile(entry: dict[str, object]) -> GpuProfile:
    known = {"name", "capability", "memory_gb", "flags", "weights"}
    if unknown := entry.keys() - known:
        raise ValueError(
            f"GPU profile {entry.get('name')}: unknown fields {', '.join(sorted(unknown))}; "
            f"allowed are {', '.join(sorted(known))}"
        )
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
        raise ValueError(f"GPU profile: `flags` and `weights` must be lists of strings (got {value!r})")
    return tuple(str(item) for item in value)


def _parse_capability(text: str) -> tuple[int, int]:
    major, minor = text.split(".")
    return int(major), int(minor)
