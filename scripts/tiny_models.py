"""Writes checkpoints so small that a CPU runs them in seconds, under the names that our models expect.

    .venv/bin/python -m scripts.tiny_models DIR [--only MODEL ...]

DIR is a ComfyUI's `models` folder (DIR/upscale_models, DIR/checkpoints, ...). The files have the shapes of
the real networks' and are loaded and run by the real nodes; what comes out is no art. `4x-ultrasharp` gives
its input, enlarged; the others noise that depends on prompt, seed and all else that should matter.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scripts.tiny.formats import Array, write_safetensors, write_torch
from scripts.tiny.networks import WAN_CONFIG, clip_l, esrgan, stable_diffusion, video_decoder, wan

WORKFLOWS = Path(__file__).resolve().parent.parent / "workflows"


@dataclass(frozen=True, slots=True)
class Tiny:
    """What stands in for the weights of one model's slot."""

    model: str
    slot: str
    tensors: Callable[[], dict[str, Array]]
    #: Written into the file's header.
    metadata: Mapping[str, str] = field(default_factory=dict)


TINIES = (
    Tiny("4x-ultrasharp", "upscaler", esrgan),
    Tiny("sd-1.5", "checkpoint", stable_diffusion),
    Tiny("wan2.1-t2v-fast", "unet", wan, WAN_CONFIG),
    Tiny("wan2.1-t2v-fast", "clip", clip_l),
    Tiny("wan2.1-t2v-fast", "vae", video_decoder),
)


def main() -> int:
    models = sorted({tiny.model for tiny in TINIES})
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("directory", type=Path, metavar="DIR", help="a ComfyUI's `models` folder")
    parser.add_argument("--only", choices=models, nargs="+", default=models, metavar="MODEL")
    options = parser.parse_args()
    for tiny in TINIES:
        if tiny.model in options.only:
            for file in write(tiny, options.directory):
                print(f"{tiny.model:16} {file}")
    return 0


def write(tiny: Tiny, directory: Path) -> Iterator[Path]:
    """One file for each variant of the slot, for the instance may ask for any."""
    tensors = tiny.tensors()
    for path in variants(tiny):
        file = directory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".safetensors":
            write_safetensors(file, tensors, tiny.metadata)
        else:
            write_torch(file, tensors)
        yield file


def variants(tiny: Tiny) -> list[str]:
    """Paths below `models/`, as the model's manifest has them."""
    manifest = tomllib.loads((WORKFLOWS / tiny.model / "model.toml").read_text("utf-8"))
    return [weight["path"] for weight in manifest["weights"] if weight["slot"] == tiny.slot]


if __name__ == "__main__":
    sys.exit(main())
