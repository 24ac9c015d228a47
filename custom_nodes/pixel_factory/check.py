"""A node that classifies images before they are saved and stops the run for refused content.

The classifier is a folder in `models/classifiers/`, as Hugging Face's `transformers` saves it: the weights
(`model.safetensors`) with `config.json` and `preprocessor_config.json`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from .parameters import CATEGORY, InputTypes

#: The model folder of ComfyUI that holds classifiers.
CLASSIFIER_FOLDER = "classifiers"
#: Largest number of video frames that are classified, spread evenly.
MAX_FRAMES = 24
#: Images per classifier call.
BATCH_SIZE = 8


class ContentRefused(Exception):
    """The output must not be delivered. The service recognises this class by its name."""


class OutputCheckNode:
    """Outputs its images unchanged, or stops the run."""

    CATEGORY: ClassVar = CATEGORY
    DESCRIPTION: ClassVar = "Stops the run if a classifier finds refused content in an image or a video."
    FUNCTION: ClassVar = "check_images"
    RETURN_TYPES: ClassVar = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        labels = {"default": "nsfw", "tooltip": "Labels to refuse, separated by commas."}
        threshold = {
            "default": 0.5,
            "min": 0.0,
            "max": 1.0,
            "step": 0.01,
            "tooltip": "Probability from which a label is refused.",
        }
        return {
            "required": {
                "images": ("IMAGE", {}),
                "classifier": (_list_classifiers(), {}),
                "labels": ("STRING", labels),
                "threshold": ("FLOAT", threshold),
            }
        }

    def check_images(self, images: Any, classifier: str, labels: str, threshold: float) -> tuple[Any]:
        """Return `images`. Raises ContentRefused if any of them has a refused label.

        `images` is a float tensor (count, height, width, 3 or 4) in 0..1. A label counts from a probability
        of `threshold`. An empty list of labels, or a label that the classifier does not have, raises
        ValueError, so that a typing error does not disable the check.
        """
        refused = {label.strip().lower() for label in labels.split(",")} - {""}
        loaded = _load_classifier(
            import_module("folder_paths").get_full_path_or_raise(CLASSIFIER_FOLDER, classifier)
        )
        unknown = refused - set(loaded.labels)
        if unknown or not refused:
            known, given = ", ".join(sorted(loaded.labels)), ", ".join(sorted(unknown)) or "none"
            raise ValueError(f"`labels` must be labels of {classifier}: {known} (got {given})")
        for probabilities in loaded.classify(images):
            found = {label: probabilities[loaded.labels[label]] for label in refused}
            worst = max(found, key=lambda label: found[label])
            if found[worst] >= threshold:
                raise ContentRefused(f"{worst} {found[worst]:.2f}")
        return (images,)


class ImageClassifier:
    """A loaded classifier. ComfyUI's memory management moves it to the GPU and back."""

    def __init__(self, folder: Path) -> None:
        transformers = import_module("transformers")
        management = import_module("comfy.model_management")
        patcher = import_module("comfy.model_patcher").ModelPatcher
        # `local_files_only`: never download anything.
        model = transformers.AutoModelForImageClassification.from_pretrained(folder, local_files_only=True)
        self._processor = transformers.AutoImageProcessor.from_pretrained(folder, local_files_only=True)
        self._device = management.get_torch_device()
        self._load = management.load_models_gpu
        # ComfyUI sets its own attributes on a model, which a transformers model does not allow: wrap it.
        holder = import_module("torch").nn.Sequential(model.eval())
        self._patcher = patcher(holder, self._device, management.unet_offload_device())
        #: Lower-case label -> index of its probability.
        self.labels = {str(label).lower(): index for index, label in model.config.id2label.items()}

    def classify(self, images: Any) -> Iterator[list[float]]:
        """Yield the probabilities of all labels, for each image or selected frame."""
        torch = import_module("torch")
        self._load([self._patcher])
        step = max(1, -(-len(images) // MAX_FRAMES))
        frames = (images[::step, ..., :3].clamp(0, 1) * 255).round().to(torch.uint8)
        for batch in frames.cpu().split(BATCH_SIZE):
            inputs = self._processor(images=[frame.numpy() for frame in batch], return_tensors="pt")
            with torch.inference_mode():
                result = self._patcher.model[0](pixel_values=inputs["pixel_values"].to(self._device))
            yield from result.logits.float().softmax(-1).tolist()


def _list_classifiers() -> list[str]:
    """Return the weight files with their folders, `name/model.safetensors`. ComfyUI's own list of this folder
    contains only files without extensions."""
    folders = map(Path, import_module("folder_paths").get_folder_paths(CLASSIFIER_FOLDER))
    found = (file.relative_to(folder) for folder in folders for file in folder.glob("*/*.safetensors"))
    return sorted({file.as_posix() for file in found})


@lru_cache(maxsize=2)
def _load_classifier(weights: str) -> ImageClassifier:
    return ImageClassifier(Path(weights).parent)


NODE_CLASS_MAPPINGS = {"PixelFactoryOutputCheck": OutputCheckNode}
NODE_DISPLAY_NAME_MAPPINGS = {"PixelFactoryOutputCheck": "Output check"}
