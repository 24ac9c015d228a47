"""Run by ComfyUI's own Python: how near are the outputs of two files of a denoiser, and of their matrices?

PYTHONPATH=REPOSITORY:COMFYUI/source python quantizing.py FIRST SECOND LATENT TEXT

PYTHONPATH=REPOSITORY:COMFYUI/source python quantizing.py make ARCHITECTURE FILE

ARCHITECTURE is a small network of `scripts.quantization_errors`, or `z-image-cut`: as wide as Z-Image, which
the loader insists on, with two of its 30 blocks, and a text encoding of 768 columns.
LATENT and TEXT are shapes, such as 1,16,1,16,16. Prints the norm of the difference of the outputs, relative
to that of the first, and for each layer of the second that is quantized, its format and the norm of its
error, as ComfyUI's own loader restores it.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any


def main(first: str, second: str, latent: str, text: str, *vector: str) -> None:
    _choose_device()
    torch: Any = importlib.import_module("torch")
    torch.manual_seed(1)
    device = importlib.import_module("comfy.model_management").get_torch_device()
    noise, context = (torch.randn(_shape(shape)).to(device) for shape in (latent, text))
    further = {"y": torch.randn(_shape(vector[0])).to(device)} if vector else {}
    if "COMFYUI_RECORD_ACTIVATIONS" in os.environ:
        importlib.import_module("custom_nodes.pixel_factory.recording").start_recording()
    models = [_load(file) for file in (first, second)]
    with torch.no_grad():
        outputs = [
            model.model.apply_model(
                noise, torch.tensor([0.5], device=device), c_crossattn=context, **further
            ).float()
            for model in models
        ]
        wide = dict(models[0].model.diffusion_model.named_modules())
        layers = {
            name: _compare(wide[name], module)
            for name, module in models[1].model.diffusion_model.named_modules()
            if getattr(module, "quant_format", None)
        }
    print(json.dumps({"difference": _relative(*outputs), "layers": layers}))


def _choose_device() -> None:
    """Use the CPU unless the environment gives ComfyUI other options."""
    args: Any = importlib.import_module("comfy.cli_args").args
    args.cpu = "--cpu" in os.environ.get("COMFYUI_TEST_OPTIONS", "--cpu").split()


def _load(file: str) -> Any:
    model = importlib.import_module("comfy.sd").load_diffusion_model(file)
    importlib.import_module("comfy.model_management").load_models_gpu([model])
    return model


def _compare(wide: Any, narrow: Any) -> dict[str, Any]:
    """Return format and error of a layer, and which scales of its input it has."""
    restored = narrow.weight.dequantize().float()
    if (factors := getattr(narrow, "pre_quant_scale", None)) is not None:
        restored = restored * factors
    inputs = getattr(narrow, "input_scale", None)
    return {
        "format": narrow.quant_format,
        "error": _relative(wide.weight.float(), restored),
        "input_scale": None if inputs is None else float(inputs),
        "is_smoothed": factors is not None,
    }


def _relative(first: Any, second: Any) -> float:
    return float((first - second).norm() / first.norm())


def _shape(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


def _cut_z_image(torch: Any) -> dict[str, Any]:
    """Return random tensors for Z-Image; blocks of a kind have the same ones, to be made in less time."""
    _choose_device()
    network = importlib.import_module("comfy.ldm.lumina.model").NextDiT(
        image_model="lumina2",
        patch_size=2,
        in_channels=16,
        dim=3840,
        cap_feat_dim=768,
        n_layers=2,
        qk_norm=True,
        n_heads=30,
        n_kv_heads=30,
        axes_dims=[32, 48, 48],
        axes_lens=[1536, 512, 512],
        rope_theta=256.0,
        ffn_dim_multiplier=8 / 3,
        z_image_modulation=True,
        time_scale=1000.0,
        pad_tokens_multiple=32,
        dtype=torch.bfloat16,
        device="meta",
        operations=importlib.import_module("comfy.ops").disable_weight_init,
    )
    torch.manual_seed(5)
    made: dict[tuple[int, ...], Any] = {}
    for tensor in network.state_dict().values():
        shape = tuple(tensor.shape)
        if shape not in made:
            values = torch.randn(shape) / shape[-1] ** 0.5 if len(shape) > 1 else torch.ones(shape)
            made[shape] = values.to(torch.bfloat16)
    return {
        name: torch.zeros_like(tensor, device="cpu") if name.endswith(".bias") else made[tensor.shape].clone()
        for name, tensor in network.state_dict().items()
    }


def make(architecture: str, file: str) -> None:
    """Write a small network with random weights."""
    torch: Any = importlib.import_module("torch")
    if architecture == "z-image-cut":
        importlib.import_module("safetensors.torch").save_file(_cut_z_image(torch), file)
        return
    errors: Any = importlib.import_module("scripts.quantization_errors")
    with torch.no_grad():
        model, _ = errors.NETWORKS[architecture]()
        errors.initialise(model)
    tensors = {name: value.to(torch.bfloat16).contiguous() for name, value in model.state_dict().items()}
    importlib.import_module("safetensors.torch").save_file(tensors, file)


if __name__ == "__main__":
    make(*sys.argv[2:]) if sys.argv[1] == "make" else main(*sys.argv[1:])
