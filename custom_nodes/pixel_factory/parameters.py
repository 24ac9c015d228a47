"""One node for each kind of parameter. None of them imports torch: ComfyUI's own nodes load images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib import import_module
from typing import Any, ClassVar

#: The largest integer that JavaScript represents exactly.
MAX_SAFE_INTEGER = 2**53 - 1
CATEGORY = "pixel factory"

InputDefinition = tuple[Any, dict[str, Any]]
InputTypes = dict[str, dict[str, InputDefinition]]


def name_input(default: str) -> InputDefinition:
    """Return the input with the parameter's name; the page shows it in the node's title."""
    return "STRING", {"default": default, "tooltip": "Name in requests: lower-case letters, digits and _."}


REQUIRED_INPUT: InputDefinition = (
    "BOOLEAN",
    {"default": False, "tooltip": "Whether requests must contain the parameter."},
)
DESCRIPTION_INPUT: InputDefinition = (
    "STRING",
    {"default": "", "multiline": True, "tooltip": "One sentence that helps users choose a value."},
)


def _complete(item: tuple[str, Any]) -> tuple[str, InputDefinition]:
    """Return the name and definition of an input; ComfyUI allows definitions without options."""
    name, (type, *rest) = item
    return name, (type, dict(rest[0]) if rest else {})


class TextParameterNode:
    """A text parameter."""

    CATEGORY: ClassVar = CATEGORY
    DESCRIPTION: ClassVar = "A text that requests set, such as the prompt."
    FUNCTION: ClassVar = "output_value"
    RETURN_TYPES: ClassVar = ("STRING",)

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        value = "STRING", {"default": "", "multiline": True, "tooltip": "Default of requests."}
        return {
            "required": {
                "name": name_input("prompt"),
                "value": value,
                "required": REQUIRED_INPUT,
                "description": DESCRIPTION_INPUT,
            }
        }

    def output_value(self, value: str, **declaration: object) -> tuple[str]:
        return (value,)


class IntegerParameterNode:
    """An integer parameter. One named `seed` gets a random value in requests without it."""

    CATEGORY: ClassVar = CATEGORY
    DESCRIPTION: ClassVar = "An integer that requests set. One named `seed` is random if a request has none."
    FUNCTION: ClassVar = "output_value"
    RETURN_TYPES: ClassVar = ("INT",)

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        limits = {"min": -MAX_SAFE_INTEGER, "max": MAX_SAFE_INTEGER}
        return {
            "required": {
                "name": name_input("steps"),
                "value": ("INT", {"default": 20, **limits, "tooltip": "Default of requests."}),
                "minimum": ("INT", {"default": 1, **limits, "tooltip": "Smallest value in requests."}),
                "maximum": ("INT", {"default": 100, **limits, "tooltip": "Largest value in requests."}),
                "step": (
                    "INT",
                    {
                        "default": 1,
                        "min": 1,
                        "max": MAX_SAFE_INTEGER,
                        "tooltip": "Values must be multiples of it.",
                    },
                ),
                "required": REQUIRED_INPUT,
                "description": DESCRIPTION_INPUT,
            }
        }

    def output_value(self, value: int, **declaration: object) -> tuple[int]:
        return (value,)


class NumberParameterNode:
    """A number parameter."""

    CATEGORY: ClassVar = CATEGORY
    DESCRIPTION: ClassVar = "A number that requests set."
    FUNCTION: ClassVar = "output_value"
    RETURN_TYPES: ClassVar = ("FLOAT",)

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        limits = {"min": -1e9, "max": 1e9, "step": 0.01, "round": False}
        return {
            "required": {
                "name": name_input("cfg_scale"),
                "value": ("FLOAT", {"default": 1.0, **limits, "tooltip": "Default of requests."}),
                "minimum": ("FLOAT", {"default": 0.0, **limits, "tooltip": "Smallest value in requests."}),
                "maximum": ("FLOAT", {"default": 30.0, **limits, "tooltip": "Largest value in requests."}),
                "step": (
                    "FLOAT",
                    {"default": 0.1, **limits, "min": 0.0, "tooltip": "Step of sliders; 0 for none."},
                ),
                "required": REQUIRED_INPUT,
                "description": DESCRIPTION_INPUT,
            }
        }

    def output_value(self, value: float, **declaration: object) -> tuple[float]:
        return (value,)


class BooleanParameterNode:
    """A boolean parameter."""

    CATEGORY: ClassVar = CATEGORY
    DESCRIPTION: ClassVar = "A boolean that requests set."
    FUNCTION: ClassVar = "output_value"
    RETURN_TYPES: ClassVar = ("BOOLEAN",)

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        return {
            "required": {
                "name": name_input("enabled"),
                "value": ("BOOLEAN", {"default": False, "tooltip": "Default of requests."}),
                "description": DESCRIPTION_INPUT,
            }
        }

    def output_value(self, value: bool, **declaration: object) -> tuple[bool]:
        return (value,)


class ImageFileParameter(ABC):
    """Base of the image and mask nodes: a file in ComfyUI's input folder, loaded by ComfyUI's own nodes."""

    CATEGORY: ClassVar = CATEGORY
    FUNCTION: ClassVar = "output_value"
    #: The parameter's default name.
    DEFAULT_NAME: ClassVar[str]
    #: Tooltips of the loader's inputs, which have none in ComfyUI.
    TOOLTIPS: ClassVar = {
        "image": "The example that ComfyUI uses here; requests contain their own.",
        "channel": "The channel of the image that is the mask.",
    }

    @staticmethod
    @abstractmethod
    def loader_class() -> Any:
        """Return the ComfyUI node class that loads the file."""

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        own = {
            name: (type, {"tooltip": cls.TOOLTIPS[name], **options})
            for name, (type, options) in map(_complete, cls.loader_class().INPUT_TYPES()["required"].items())
        }
        required = ("BOOLEAN", {**REQUIRED_INPUT[1], "default": True})
        declared = {
            "name": name_input(cls.DEFAULT_NAME),
            "required": required,
            "description": DESCRIPTION_INPUT,
        }
        # The image comes first: ComfyUI adds the upload button after the last widget.
        return {"required": {**own, **declared}}

    @classmethod
    def IS_CHANGED(cls, image: str, channel: str = "", **declaration: object) -> Any:
        return cls.loader_class().IS_CHANGED(image, *([channel] if channel else []))

    @classmethod
    def VALIDATE_INPUTS(cls, image: str) -> Any:
        return cls.loader_class().VALIDATE_INPUTS(image)

    @classmethod
    def load_image(cls, *values: str) -> Any:
        """Return the outputs of ComfyUI's loader; the name of its method differs between versions."""
        loader = cls.loader_class()
        return getattr(loader(), loader.FUNCTION)(*values)


class ImageParameterNode(ImageFileParameter):
    """An image parameter."""

    DESCRIPTION: ClassVar = (
        "An image that requests contain. If not required, link it to optional inputs only."
    )
    RETURN_TYPES: ClassVar = ("IMAGE", "MASK")
    DEFAULT_NAME: ClassVar = "image"

    @staticmethod
    def loader_class() -> Any:
        return import_module("nodes").LoadImage

    def output_value(self, image: str, **declaration: object) -> Any:
        return self.load_image(image)


class MaskParameter(ImageFileParameter):
    """A mask parameter: one channel of an image."""

    DESCRIPTION: ClassVar = "A mask that requests contain. If not required, link it to optional inputs only."
    RETURN_TYPES: ClassVar = ("MASK",)
    DEFAULT_NAME: ClassVar = "mask"

    @staticmethod
    def loader_class() -> Any:
        return import_module("nodes").LoadImageMask

    def output_value(self, image: str, channel: str, **declaration: object) -> Any:
        return self.load_image(image, channel)


#: The names are stored in authors' graphs and must not change.
NODE_CLASS_MAPPINGS = {
    "PixelFactoryText": TextParameterNode,
    "PixelFactoryInteger": IntegerParameterNode,
    "PixelFactoryNumber": NumberParameterNode,
    "PixelFactoryBoolean": BooleanParameterNode,
    "PixelFactoryImage": ImageParameterNode,
    "PixelFactoryMask": MaskParameter,
}
NODE_DISPLAY_NAME_MAPPINGS = {
    "PixelFactoryText": "Text parameter",
    "PixelFactoryInteger": "Integer parameter",
    "PixelFactoryNumber": "Number parameter",
    "PixelFactoryBoolean": "Boolean parameter",
    "PixelFactoryImage": "Image parameter",
    "PixelFactoryMask": "Mask parameter",
}
