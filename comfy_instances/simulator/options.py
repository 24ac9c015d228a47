"""The options of a simulated instance."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

#: Subfolders of `models/` that the pinned version of ComfyUI searches.
MODEL_FOLDERS = (
    "checkpoints", "configs", "loras", "vae", "text_encoders", "diffusion_models", "clip_vision",
    "style_models", "embeddings", "diffusers", "vae_approx", "controlnet", "gligen", "upscale_models",
    "latent_upscale_models", "custom_nodes", "datasets", "hypernetworks", "photomaker", "classifiers",
    "model_patches", "audio_encoders", "background_removal", "frame_interpolation",
    "geometry_estimation", "optical_flow", "detection",
)  # fmt: skip


#: Folders below `output/` that ComfyUI searches too.
OUTPUT_MODEL_FOLDERS = ("checkpoints", "clip", "vae", "diffusion_models", "loras")


@dataclass(frozen=True, slots=True)
class InstanceFolders:
    """The folders of an instance, in the layout of ComfyUI's `--base-directory`."""

    base: Path
    #: Further folder with model files, as of `--models-directory`.
    shared_models: Path | None = None

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

    def list_model_files(self, kind: str) -> list[str]:
        """Return the names of the model files of a kind, as loader nodes call them."""
        folders = self._model_folders(kind)
        found = ((folder, path) for folder in folders for path in folder.rglob("*") if path.is_file())
        return sorted({str(path.relative_to(folder)) for folder, path in found})

    def find_model_file(self, kind: str, name: str) -> Path | None:
        """Return the path of a model file; None if no file of the kind has that name."""
        if name not in self.list_model_files(kind):
            return None
        return next(path for folder in self._model_folders(kind) if (path := folder / name).is_file())

    def _model_folders(self, kind: str) -> list[Path]:
        if kind not in MODEL_FOLDERS:
            return []
        folders = [self.models / kind]
        if self.shared_models is not None:
            folders.append(self.shared_models / kind)
        if kind in OUTPUT_MODEL_FOLDERS:
            folders.append(self.output / kind)
        return folders

    def folder_of_type(self, folder_type: str) -> Path | None:
        """Return the folder that a request's `type` names; None for an unknown type."""
        return {"input": self.input, "output": self.output, "temp": self.temp}.get(folder_type)

    def prepare(self) -> None:
        """Create the folders, and delete the files that an earlier run left in `temp`."""
        shutil.rmtree(self.temp, ignore_errors=True)
        for folder in (self.input, self.output, self.temp, self.models):
            folder.mkdir(parents=True, exist_ok=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulatorOptions:
    """The options that the command line sets."""

    port: int
    folders: InstanceFolders
    host: str = "127.0.0.1"
    #: Factor on simulated load and step times; 0 disables waiting.
    time_scale: float = 0.0
    #: Simulated GPU memory in bytes.
    vram_bytes: int = 96 * 1024**3
    #: `none` disables previews unless a prompt requests them.
    preview_method: str = "auto"
    #: Whether it has the part of our node pack that delivers results.
    delivers: bool = True
