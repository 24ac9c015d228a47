"""Write a network of the shape of FLUX.1 and its VAE with random weights. Run by ComfyUI's own Python.

    PYTHONPATH=COMFYUI/source COMFYUI/venv/bin/python gpu_time_weights.py MODELS WIDTH DOUBLE SINGLE

MODELS is a folder of models; WIDTH, DOUBLE and SINGLE are the columns of the network and its numbers of
blocks, 3072, 19 and 38 for FLUX.1. Speed does not depend on the values: they only have to stay finite.
"""

from __future__ import annotations

import importlib
import json
import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

NETWORK_FILE, VAE_FILE = "diffusion_models/bench_flux_bf16.safetensors", "vae/bench_vae.safetensors"
#: Columns of the T5 and CLIP-L encodings.
TEXT_WIDTH, POOLED_WIDTH = 4096, 768
#: Numbers that are drawn at a time.
_DRAWN_AT_ONCE = 2**26
#: The VAE of FLUX.1.
_VAE = {
    "double_z": True,
    "z_channels": 16,
    "resolution": 256,
    "in_channels": 3,
    "out_ch": 3,
    "ch": 128,
    "ch_mult": [1, 2, 4, 4],
    "num_res_blocks": 2,
    "attn_resolutions": [],
    "dropout": 0.0,
}


def main(models: str, width: str, double: str, single: str) -> None:
    args: Any = importlib.import_module("comfy.cli_args").args
    torch: Any = importlib.import_module("torch")
    args.cpu = not torch.cuda.is_available()
    torch.manual_seed(1)
    network = describe_network(torch, int(width), int(double), int(single))
    write_random(torch, Path(models, NETWORK_FILE), network)
    write_random(torch, Path(models, VAE_FILE), describe_vae(torch))


def describe_network(torch: Any, width: int, double: int, single: int) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of the network's tensors."""
    network = importlib.import_module("comfy.ldm.flux.model").Flux(
        image_model="flux",
        hidden_size=width,
        num_heads=width // 128,
        depth=double,
        depth_single_blocks=single,
        context_in_dim=TEXT_WIDTH,
        vec_in_dim=POOLED_WIDTH,
        axes_dim=[16, 56, 56],
        theta=10000,
        mlp_ratio=4.0,
        in_channels=16,
        out_channels=16,
        patch_size=2,
        qkv_bias=True,
        txt_ids_dims=[],
        guidance_embed=False,
        dtype=torch.bfloat16,
        device="meta",
        operations=importlib.import_module("comfy.ops").disable_weight_init,
    )
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def describe_vae(torch: Any) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of the VAE's tensors."""
    module = importlib.import_module("comfy.ldm.models.autoencoder")
    with torch.device("meta"):
        vae = module.AutoencodingEngine(
            regularizer_config={"target": "comfy.ldm.models.autoencoder.DiagonalGaussianRegularizer"},
            encoder_config={"target": "comfy.ldm.modules.diffusionmodules.model.Encoder", "params": _VAE},
            decoder_config={"target": "comfy.ldm.modules.diffusionmodules.model.Decoder", "params": _VAE},
        )
    return {name: tuple(tensor.shape) for name, tensor in vae.state_dict().items()}


def write_random(torch: Any, file: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Write a safetensors file of 16-bit values, one tensor in memory at a time."""
    header, end = dict[str, Any](), 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": (begin, end)}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for shape in shapes.values():
            for values in draw(torch, shape):
                out.write(values.cpu().view(torch.uint8).numpy().tobytes())


def draw(torch: Any, shape: tuple[int, ...]) -> Iterator[Any]:
    """Yield the values of a tensor: ones for vectors, and what keeps the size of an input for others."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    left, spread = math.prod(shape), 1 / math.sqrt(math.prod(shape[1:]))
    while left > 0:
        count = min(left, _DRAWN_AT_ONCE)
        values = torch.ones(count, device=device)
        if len(shape) > 1:
            values = torch.randn(count, device=device) * spread
        yield values.to(torch.bfloat16)
        left -= count


if __name__ == "__main__":
    main(*sys.argv[1:])
