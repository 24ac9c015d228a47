"""Makes a classifier that takes red pictures for `nsfw`; run by ComfyUI's Python: `classifier.py FOLDER`."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

SIDE = 16


def make(folder: str) -> None:
    """A BEiT without layers: the mean of its patches decides, which hold how red and how blue they are."""
    transformers: Any = import_module("transformers")
    torch: Any = import_module("torch")
    config = transformers.BeitConfig(
        image_size=SIDE,
        patch_size=SIDE,
        hidden_size=4,
        num_hidden_layers=0,
        num_attention_heads=1,
        intermediate_size=4,
        use_mean_pooling=True,
        id2label={0: "normal", 1: "nsfw"},
        label2id={"normal": 0, "nsfw": 1},
    )
    model = transformers.BeitForImageClassification(config)
    with torch.no_grad():
        for name, value in model.named_parameters():
            # The norms' scales stay 1; all else is nothing but what is said below.
            if "norm.weight" not in name:
                value.zero_()
        patches = model.beit.embeddings.patch_embeddings.projection.weight
        patches[0, 0] = patches[1, 2] = 1 / SIDE**2
        model.classifier.weight[1, :2] = torch.tensor([4.0, -4.0])
    model.save_pretrained(folder)
    size = {"height": SIDE, "width": SIDE}
    transformers.ViTImageProcessor(size=size).save_pretrained(folder)


if __name__ == "__main__":
    make(sys.argv[1])
