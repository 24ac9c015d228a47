"""A node that looks at pictures before they are saved, and refuses those that a classifier objects to.

The classifier is a folder as Hugging Face's `transformers` saves it, under `models/classifiers/`: the weights
(`model.safetensors`) with their `config.json` and `preprocessor_config.json` beside them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from .parameters import CATEGORY, InputTypes

#: One of ComfyUI's kinds of model folders.
CLASSIFIER_FOLDER = "classifiers"
#: Frames of a film that are looked at, spread evenly over it.
MAX_FRAMES = 24
#: Pictures that are classified at once.
BATCH_SIZE = 8


class ContentRefused(Exception):
    """What was made must not be handed out. The service knows this class by its name."""


class OutputCheckNode:
    """Hands pictures on as they are, or stops the run."""

    CATEGORY: ClassVar = CATEGORY
    DESCRIPTION: ClassVar = "Stops the run where a classifier finds something in a picture, or in a film."
    FUNCTION: ClassVar = "check"
    RETURN_TYPES: ClassVar = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        labels = {"default": "nsfw", "tooltip": "Labels of the classifier that are refused, with commas."}
        share = {"default": 0.5, "min": 0.0, "max": 1.0, "step": 0.01, "tooltip": "Least probability."}
        return {
            "required": {
                "images": ("IMAGE", {}),
                "classifier": (_list_classifiers(), {}),
                "labels": ("STRING", labels),
                "threshold": ("FLOAT", share),
            }
        }

    def check(self, images: Any, classifier: str, labels: str, threshold: float) -> tuple[Any]:
        """Raises ContentRefused where a refused label is at least `threshold` likely in any picture.

        `images` is a float tensor (count, height, width, 3 or 4) in 0..1; a label that the classifier does
        not have raises ValueError, so that a slip of the pen does not let everything pass.
        """
        refused = {label.strip().lower() for label in labels.split(",")} - {""}
        eye = _load_classifier(
            import_module("folder_paths").get_full_path_or_raise(CLASSIFIER_FOLDER, classifier)
        )
        unknown = refused - set(eye.labels)
        if unknown or not refused:
            known = ", ".join(sorted(eye.labels))
            raise ValueError(f"{classifier} knows {known}, and not {', '.join(sorted(unknown)) or 'nothing'}")
        for probabilities in eye.classify(images):
            found = {label: probabilities[eye.labels[label]] for label in refused}
            worst = max(found, key=lambda label: found[label])
            if found[worst] >= threshold:
                raise ContentRefused(f"{worst} {found[worst]:.2f}")
        return (images,)


class ImageClassifier:
    """A classifier in memory, moved to the GPU and away from it by ComfyUI's own memory management."""

    def __init__(self, folder: Path) -> None:
        transformers = import_module("transformers")
        management = import_module("comfy.model_management")
        patcher = import_module("comfy.model_patcher").ModelPatcher
        # Nothing is ever fetched: all of it lies in the folder.
        model = transformers.AutoModelForImageClassification.from_pretrained(folder, local_files_only=True)
        self._processor = transformers.AutoImageProcessor.from_pretrained(folder, local_files_only=True)
        self._device = management.get_torch_device()
        self._load = management.load_models_gpu
        # ComfyUI notes on a model where it is, for which this one has no room of its own.
        holder = import_module("torch").nn.Sequential(model.eval())
        self._patcher = patcher(holder, self._device, management.unet_offload_device())
        #: Label in small letters -> its place among the probabilities.
        self.labels = {str(label).lower(): index for index, label in model.config.id2label.items()}

    def classify(self, images: Any) -> Iterator[list[float]]:
        """Probabilities by label, for each picture that is looked at."""
        torch = import_module("torch")
        self._load([self._patcher])
        step = max(1, -(-len(images) // MAX_FRAMES))
        chosen = (images[::step, ..., :3].clamp(0, 1) * 255).round().to(torch.uint8)
        for batch in chosen.cpu().split(BATCH_SIZE):
            read = self._processor(images=[picture.numpy() for picture in batch], return_tensors="pt")
            with torch.inference_mode():
                seen = self._patcher.model[0](pixel_values=read["pixel_values"].to(self._device))
            yield from seen.logits.float().softmax(-1).tolist()


def _list_classifiers() -> list[str]:
    """Weight files with their folders: `name/model.safetensors`. ComfyUI's own list of this kind of folder
    knows files without extensions only."""
    folders = map(Path, import_module("folder_paths").get_folder_paths(CLASSIFIER_FOLDER))
    found = (file.relative_to(folder) for folder in folders for file in folder.glob("*/*.safetensors"))
    return sorted({file.as_posix() for file in found})


@lru_cache(maxsize=2)
def _load_classifier(weights: str) -> ImageClassifier:
    return ImageClassifier(Path(weights).parent)


NODE_CLASS_MAPPINGS = {"PixelFactoryOutputCheck": OutputCheckNode}
NODE_DISPLAY_NAME_MAPPINGS = {"PixelFactoryOutputCheck": "Output check"}
