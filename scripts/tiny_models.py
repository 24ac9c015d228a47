"""Write checkpoints small enough to run on a CPU in seconds, with the file names that the models expect.

    .venv/bin/python -m scripts.tiny_models DIR [--only MODEL ...]

DIR is a ComfyUI's `models` folder (DIR/upscale_models, DIR/checkpoints, ...). The files have the structure
of the real networks, and the real nodes load and run them; the images have no quality. `4x-ultrasharp`
returns its input enlarged; the others return noise that depends on prompt, seed and all other inputs.

ComfyUI infers the sizes of some networks from their files. It hard-codes those of others (0.33.0), so that
no file can make them small:

- SDXL: detected only by 320 channels with transformers of depth 0, 0, 2, 2, 10 and 10, which are 2.6 billion
  parameters; its second text encoder is always 32 layers of 1280.
- FLUX.1: T5-XXL, 24 layers of 4096, is always built, whatever the file contains. FLUX.2, Z-Image and
  Qwen-Image: the same with Qwen3 4B and 8B, Mistral 24B and Qwen2.5-VL 7B.
- HunyuanVideo: its denoiser would be small, but Llama 3 (32 layers of 4096, 8 billion parameters) is always
  built beside CLIP, and reads a hundred tokens of instructions before each prompt. HunyuanVideo 1.5: the same
  with Qwen2.5-VL 7B.
- LTX 2 and 2.3: denoiser and VAEs take all sizes from their files' metadata, but Gemma 3 is always 48 layers
  of 3840, and pads each prompt to 1024 tokens.
- Wan 2.1 image-to-video: encodes the image with CLIP ViT-H, 32 layers of 1280. Wan 2.2 does not.
- HiDream: its denoiser is always 48 blocks, 2560 wide. Hunyuan 3D: encodes its image with DINOv2, at least
  24 layers of 1024.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scripts.tiny import wan
from scripts.tiny.formats import Array, write_safetensors, write_torch_checkpoint
from scripts.tiny.networks import clip_l, esrgan, stable_diffusion, stable_diffusion_3

WORKFLOWS_DIR = Path(__file__).resolve().parent.parent / "workflows"


@dataclass(frozen=True, slots=True)
class TinyModel:
    """A tiny replacement for the weights of one slot of a model."""

    model: str
    slot: str
    build_tensors: Callable[[], dict[str, Array]]
    #: Metadata in the file's header.
    metadata: Mapping[str, str] = field(default_factory=dict)


TINY_MODELS = (
    TinyModel("4x-ultrasharp", "upscaler", esrgan),
    TinyModel("sd-1.5", "checkpoint", stable_diffusion),
    TinyModel("sd-3.5-large", "checkpoint", stable_diffusion_3),
    TinyModel("wan2.1-t2v-fast", "unet", wan.text_to_video_denoiser, wan.DENOISER_METADATA),
    TinyModel("wan2.1-t2v-fast", "clip", clip_l),
    TinyModel("wan2.1-t2v-fast", "vae", wan.vae),
    TinyModel("wan2.2-i2v-14b", "high", wan.high_noise_expert, wan.DENOISER_METADATA),
    TinyModel("wan2.2-i2v-14b", "low", wan.low_noise_expert, wan.DENOISER_METADATA),
    TinyModel("wan2.2-i2v-14b", "clip", clip_l),
    TinyModel("wan2.2-i2v-14b", "vae", wan.vae),
)


def main() -> int:
    models = sorted({tiny.model for tiny in TINY_MODELS})
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("directory", type=Path, metavar="DIR", help="a ComfyUI's `models` folder")
    parser.add_argument("--only", choices=models, nargs="+", default=models, metavar="MODEL")
    options = parser.parse_args()
    for tiny in TINY_MODELS:
        if tiny.model in options.only:
            for file in write_tiny_model(tiny, options.directory):
                print(f"{tiny.model:16} {file}")
    return 0


def write_tiny_model(tiny_model: TinyModel, directory: Path) -> Iterator[Path]:
    """Write one file per variant of the slot, because an instance may use any of them."""
    tensors = tiny_model.build_tensors()
    for path in variant_paths(tiny_model):
        file = directory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".safetensors":
            write_safetensors(file, tensors, tiny_model.metadata)
        else:
            write_torch_checkpoint(file, tensors)
        yield file


def variant_paths(tiny_model: TinyModel) -> list[str]:
    """Return the paths below `models/` of all variants in the model's manifest."""
    manifest = tomllib.loads((WORKFLOWS_DIR / tiny_model.model / "model.toml").read_text("utf-8"))
    return [weight["path"] for weight in manifest["weights"] if weight["slot"] == tiny_model.slot]


if __name__ == "__main__":
    sys.exit(main())
