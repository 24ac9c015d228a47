"""Records what the layers of a denoiser get as input, for `pixelfactory weights quantize --calibrate`.

    COMFYUI_RECORD_ACTIVATIONS=/somewhere/activations.safetensors pixelfactory up

Requests for a model in 16 bits, a handful of different ones, are recorded: for each matrix the largest
absolute value and the mean square of each column of its input. A second network (Wan 2.2 has two) is written
to `activations-2.safetensors`, and so on. Recording slows sampling down; it changes no result.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

VARIABLE = "COMFYUI_RECORD_ACTIVATIONS"
#: Writing the file takes at most this share of the time.
WRITING_SHARE = 0.05


class Recording:
    """The inputs of one network's matrices."""

    def __init__(self, network: Any, file: Path) -> None:
        self._file = file
        self._largest: dict[str, Any] = {}
        self._squares: dict[str, Any] = {}
        self._rows: dict[str, int] = {}
        self._next_write = 0.0
        for name, module in network.named_modules():
            if hasattr(module, "in_features"):
                module.register_forward_pre_hook(self._hook(name))

    def _hook(self, name: str) -> Any:
        def record(module: Any, inputs: tuple[Any, ...]) -> None:
            if not inputs or not hasattr(inputs[0], "shape") or inputs[0].shape[-1] != module.in_features:
                return
            rows = inputs[0].detach().reshape(-1, module.in_features).float()
            largest, squares = rows.abs().amax(dim=0), rows.square().sum(dim=0)
            if name in self._rows:
                largest = largest.maximum(self._largest[name])
                squares = squares + self._squares[name]
            self._largest[name], self._squares[name] = largest, squares
            self._rows[name] = self._rows.get(name, 0) + rows.shape[0]

        return record

    def write(self) -> None:
        """Write the file, unless it was written a moment ago."""
        started = time.monotonic()
        if started < self._next_write or not self._rows:
            return
        from safetensors.torch import save_file

        tensors = {f"{name}.amax": value.cpu().contiguous() for name, value in self._largest.items()}
        for name, value in self._squares.items():
            tensors[f"{name}.mean_square"] = (value / self._rows[name]).cpu().contiguous()
        draft = self._file.with_name(f"{self._file.name}.new")
        save_file(tensors, str(draft))
        draft.replace(self._file)
        self._next_write = time.monotonic() + (time.monotonic() - started) / WRITING_SHARE


def start_recording() -> None:
    """Record every network that ComfyUI runs, if the environment names a file."""
    target = os.environ.get(VARIABLE)
    if not target:
        return
    import comfy.model_base as model_base  # type: ignore[import-not-found]

    file = Path(target)
    recordings: dict[int, Recording] = {}
    original = model_base.BaseModel._apply_model

    def apply_model(self: Any, *args: Any, **kwargs: Any) -> Any:
        key = id(self.diffusion_model)
        if key not in recordings:
            number = len(recordings) + 1
            name = file.name if number == 1 else f"{file.stem}-{number}{file.suffix}"
            recordings[key] = Recording(self.diffusion_model, file.with_name(name))
        result = original(self, *args, **kwargs)
        recordings[key].write()
        return result

    model_base.BaseModel._apply_model = apply_model
