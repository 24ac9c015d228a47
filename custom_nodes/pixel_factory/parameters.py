"""One node for each kind of parameter. None of them imports torch: ComfyUI's own nodes load pictures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib import import_module
from typing import Any, ClassVar

#: Whole numbers that JavaScript keeps exact.
MAX_SAFE_INTEGER = 2**53 - 1
CATEGORY = "pixel factory"

InputDefinition = tuple[Any, dict[str, Any]]
InputTypes = dict[str, dict[str, InputDefinition]]


def _name_input(default: str) -> InputDefinition:
    return "STRING", {"default": default, "tooltip": "What requests call it: small letters, digits and _."}


REQUIRED_INPUT: InputDefinition = (
    "BOOLEAN",
    {"default": False, "tooltip": "Whether requests without it are refused."},
)
DESCRIPTION_INPUT: InputDefinition = (
    "STRING",
    {"default": "", "multiline": True, "tooltip": "One sentence for people who choose a value."},
)


class Text:
    """A text of the request."""

    CATEGORY: ClassVar = CATEGORY
    DESCRIPTION: ClassVar = "A text that requests set, such as the prompt."
    FUNCTION: ClassVar = "give"
    RETURN_TYPES: ClassVar = ("STRING",)

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        value = "STRING", {"default": "", "multiline": True, "tooltip": "Used where a request has none."}
        return {
            "required": {
                "name": _name_input("prompt"),
                "value": value,
                "required": REQUIRED_INPUT,
                "description": DESCRIPTION_INPUT,
            }
        }

    def give(self, value: str, **declaration: object) -> tuple[str]:
        return (value,)


class Integer:
    """A whole number of the request; `seed` is drawn where a request has none."""

    CATEGORY: ClassVar = CATEGORY
    DESCRIPTION: ClassVar = "A whole number that requests set. Named `seed` it is drawn where not given."
    FUNCTION: ClassVar = "give"
    RETURN_TYPES: ClassVar = ("INT",)

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        limits = {"min": -MAX_SAFE_INTEGER, "max": MAX_SAFE_INTEGER}
        return {
            "required": {
                "name": _name_input("steps"),
                "value": ("INT", {"default": 20, **limits, "tooltip": "Used where a request has none."}),
                "minimum": ("INT", {"default": 1, **limits}),
                "maximum": ("INT", {"default": 100, **limits}),
                "step": (
                    "INT",
                    {"default": 1, "min": 1, "max": MAX_SAFE_INTEGER, "tooltip": "Only multiples of it."},
                ),
                "required": REQUIRED_INPUT,
                "description": DESCRIPTION_INPUT,
            }
        }

    def give(self, value: int, **declaration: object) -> tuple[int]:
        return (value,)


class Number:
    """A number of the request."""

    CATEGORY: ClassVar = CATEGORY
    DESCRIPTION: ClassVar = "A number that requests set."
    FUNCTION: ClassVar = "give"
    RETURN_TYPES: ClassVar = ("FLOAT",)

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        limits = {"min": -1e9, "max": 1e9, "step": 0.01, "round": False}
        return {
            "required": {
                "name": _name_input("cfg_scale"),
                "value": ("FLOAT", {"default": 1.0, **limits, "tooltip": "Used where a request has none."}),
                "minimum": ("FLOAT", {"default": 0.0, **limits}),
                "maximum": ("FLOAT", {"default": 30.0, **limits}),
                "step": ("FLOAT", {"default": 0.1, **limits, "min": 0.0, "tooltip": "For sliders; 0: none."}),
                "required": REQUIRED_INPUT,
                "description": DESCRIPTION_INPUT,
            }
        }

    def give(self, value: float, **declaration: object) -> tuple[float]:
        return (value,)


class Boolean:
    """A yes or no of the request."""

    CATEGORY: ClassVar = CATEGORY
    DESCRIPTION: ClassVar = "A yes or no that requests set."
    FUNCTION: ClassVar = "give"
    RETURN_TYPES: ClassVar = ("BOOLEAN",)

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        return {
            "required": {
                "name": _name_input("enabled"),
                "value": ("BOOLEAN", {"default": False, "tooltip": "Used where a request has none."}),
                "description": DESCRIPTION_INPUT,
            }
        }

    def give(self, value: bool, **declaration: object) -> tuple[bool]:
        return (value,)


class ImageFileNode(ABC):
    """What both picture nodes have in common: a file of ComfyUI's input folder, loaded by its own nodes."""

    CATEGORY: ClassVar = CATEGORY
    FUNCTION: ClassVar = "give"
    #: Name that it has unless the author gives another.
    DEFAULT_NAME: ClassVar[str]

    @staticmethod
    @abstractmethod
    def loader_class() -> Any:
        """ComfyUI's class that loads such a picture."""

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        own = cls.loader_class().INPUT_TYPES()["required"]
        required = ("BOOLEAN", {**REQUIRED_INPUT[1], "default": True})
        declared = {
            "name": _name_input(cls.DEFAULT_NAME),
            "required": required,
            "description": DESCRIPTION_INPUT,
        }
        # The picture comes first: the button to upload one follows the last widget.
        return {"required": {**own, **declared}}

    @classmethod
    def IS_CHANGED(cls, image: str, channel: str = "", **declaration: object) -> Any:
        return cls.loader_class().IS_CHANGED(image, *([channel] if channel else []))

    @classmethod
    def VALIDATE_INPUTS(cls, image: str) -> Any:
        return cls.loader_class().VALIDATE_INPUTS(image)

    @classmethod
    def load_image(cls, *values: str) -> Any:
        """What ComfyUI's node gives for its own inputs; its method has had more than one name."""
        loader = cls.loader_class()
        return getattr(loader(), loader.FUNCTION)(*values)


class Image(ImageFileNode):
    """A picture of the request."""

    DESCRIPTION: ClassVar = (
        "A picture that requests bring; not required, it may only be linked to optional inputs."
    )
    RETURN_TYPES: ClassVar = ("IMAGE", "MASK")
    DEFAULT_NAME: ClassVar = "image"

    @staticmethod
    def loader_class() -> Any:
        return import_module("nodes").LoadImage

    def give(self, image: str, **declaration: object) -> Any:
        return self.load_image(image)


class Mask(ImageFileNode):
    """A mask of the request: one channel of a picture."""

    DESCRIPTION: ClassVar = (
        "A mask that requests bring; not required, it may only be linked to optional inputs."
    )
    RETURN_TYPES: ClassVar = ("MASK",)
    DEFAULT_NAME: ClassVar = "mask"

    @staticmethod
    def loader_class() -> Any:
        return import_module("nodes").LoadImageMask

    def give(self, image: str, channel: str, **declaration: object) -> Any:
        return self.load_image(image, channel)


_PARAMETER_NODES = (Text, Integer, Number, Boolean, Image, Mask)

NODE_CLASS_MAPPINGS = {f"PixelFactory{node.__name__}": node for node in _PARAMETER_NODES}
NODE_DISPLAY_NAME_MAPPINGS = {
    name: f"{node.__name__} parameter" for name, node in NODE_CLASS_MAPPINGS.items()
}
