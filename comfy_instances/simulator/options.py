"""How one simulated instance was asked to behave."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

#: Sub-folders of `models/` that a ComfyUI of the pinned version looks into.
MODEL_FOLDERS = (
    "checkpoints", "configs", "loras", "vae", "text_encoders", "diffusion_models", "clip_vision",
    "style_models", "embeddings", "diffusers", "vae_approx", "controlnet", "gligen", "upscale_models",
    "latent_upscale_models", "custom_nodes", "datasets", "hypernetworks", "photomaker", "classifiers",
    "model_patches", "audio_encoders", "background_removal", "frame_interpolation",
    "geometry_estimation", "optical_flow", "detection",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class InstanceFolders:
    """Where an instance keeps its files; the layout of ComfyUI's `--base-directory`."""

    base: Path

    @property
    def input(self) -> Path:
        return self.base / "input"

    @property
    def output(self) -> Path:
        return self.base / "output"

    @property
    def temp(self) -> Path:
        return self.base / "temp"

    @property
    def models(self) -> Path:
        return self.base / "models"

    def folder_of_type(self, folder_type: str) -> Path | None:
        """The folder that a request's `type` names, if there is such a type."""
        return {"input": self.input, "output": self.output, "temp": self.temp}.get(folder_type)

    def prepare(self) -> None:
        """Make the folders; what an earlier run left in `temp` goes."""
        shutil.rmtree(self.temp, ignore_errors=True)
        for folder in (self.input, self.output, self.temp, self.models):
            folder.mkdir(parents=True, exist_ok=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulatorOptions:
    """Everything the command line sets."""

    port: int
    folders: InstanceFolders
    host: str = "127.0.0.1"
    #: Factor on simulated load and step times; 0 spends none.
    time_scale: float = 0.0
    #: Simulated GPU memory in bytes.
    vram_bytes: int = 96 * 1024**3
    #: `none` sends no pictures of unfinished work unless a prompt asks for them.
    preview_method: str = "auto"
