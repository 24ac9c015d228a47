"""Reads `comfyui.lock.toml`, which pins ComfyUI and the PyTorch packages for each kind of machine."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

LOCK_FILE = Path(__file__).with_name("comfyui.lock.toml")


@dataclass(frozen=True, slots=True)
class TorchPin:
    """Matching PyTorch packages for one kind of machine."""

    #: pip requirements, `name==version`.
    packages: tuple[str, ...]
    #: Package index chosen by the operator; None for the default index.
    index_url: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ComfyUILock:
    """One tested ComfyUI."""

    url: str
    tag: str
    version: str
    commit: str
    #: SHA-256 of its requirements.txt.
    requirements_sha256: str
    #: Patterns of files that ComfyUI can run without.
    may_lack: tuple[str, ...]
    #: PyTorch packages by kind of machine, `cpu` or `cuda`.
    torch: Mapping[str, TorchPin]


def load_comfyui_lock(path: Path = LOCK_FILE) -> ComfyUILock:
    """Read the lock file. Raises OSError, tomllib.TOMLDecodeError or KeyError for an invalid file."""
    content = tomllib.loads(path.read_text("utf-8"))
    comfyui = content["comfyui"]
    return ComfyUILock(
        url=comfyui["url"],
        tag=comfyui["tag"],
        version=comfyui["version"],
        commit=comfyui["commit"],
        requirements_sha256=comfyui["requirements_sha256"],
        may_lack=tuple(comfyui["may_lack"]),
        torch={kind: TorchPin(tuple(entry["packages"])) for kind, entry in content["torch"].items()},
    )
