"""Parses the response to `/system_stats`. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class DeviceStats:
    """A device of an instance. Memory is in bytes."""

    name: str
    type: str
    index: int | None
    vram_total: int
    vram_free: int


@dataclass(frozen=True, slots=True)
class SystemStats:
    """Version, command line and memory of an instance, which runs on `devices[0]`. Memory is in bytes."""

    version: str | None
    torch_version: str | None
    argv: tuple[str, ...]
    ram_total: int
    ram_free: int
    devices: tuple[DeviceStats, ...]


def parse_system_stats(body: Any) -> SystemStats:
    """Parse the response body. Raises ValueError if it is malformed."""
    try:
        system = body["system"]
        return SystemStats(
            version=system.get("comfyui_version"),
            torch_version=system.get("pytorch_version"),
            argv=tuple(map(str, system.get("argv") or ())),
            ram_total=int(system.get("ram_total") or 0),
            ram_free=int(system.get("ram_free") or 0),
            devices=tuple(map(_parse_device, body["devices"])),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("malformed /system_stats response") from error


def _parse_device(row: Any) -> DeviceStats:
    return DeviceStats(
        name=str(row["name"]),
        type=str(row["type"]),
        index=row.get("index"),
        vram_total=int(row.get("vram_total") or 0),
        vram_free=int(row.get("vram_free") or 0),
    )
