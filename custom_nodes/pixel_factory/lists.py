"""Parameter nodes with several values: a choice among texts, and a list of LoRAs."""

from __future__ import annotations

from importlib import import_module
from typing import Any, ClassVar

from .parameters import CATEGORY, DESCRIPTION_INPUT, REQUIRED_INPUT, InputTypes, name_input

#: LoRAs that a list node shows; requests may name as many as `max_items` says.
LORA_ROWS = 4
#: The option of a row without a LoRA.
NO_LORA = "none"


class ChoiceParameterNode:
    """A parameter with a fixed list of texts, for any input with options, such as a sampler's name."""

    CATEGORY: ClassVar = CATEGORY
    DESCRIPTION: ClassVar = "One of several texts. Link it to an input with options to take these as choices."
    FUNCTION: ClassVar = "output_value"
    # Inputs with options accept no other type than this one from a node.
    RETURN_TYPES: ClassVar = ("*",)
    RETURN_NAMES: ClassVar = ("choice",)

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        choices = {
            "default": "",
            "multiline": True,
            "tooltip": "The texts that requests may use, one a line.",
        }
        return {
            "required": {
                "name": name_input("style"),
                # The page fills in the options from `choices`.
                "value": ([], {"tooltip": "Default of requests: one of the choices."}),
                "choices": ("STRING", choices),
                "required": REQUIRED_INPUT,
                "description": DESCRIPTION_INPUT,
            }
        }

    @classmethod
    def VALIDATE_INPUTS(cls, value: str, choices: str) -> bool | str:
        listed = split_choices(choices)
        return value in listed or f"value: {value!r} must be one of the choices: {', '.join(listed)}"

    def output_value(self, value: str, **declaration: object) -> tuple[str]:
        return (value,)


def split_choices(choices: str) -> list[str]:
    """Return the texts in the lines of the widget."""
    return [line.strip() for line in choices.splitlines() if line.strip()]


class LoraListParameterNode:
    """A list of LoRAs that requests may replace."""

    CATEGORY: ClassVar = CATEGORY
    DESCRIPTION: ClassVar = (
        "A list of LoRAs that requests replace as a whole; those chosen here are the default."
    )
    FUNCTION: ClassVar = "apply_loras"
    RETURN_TYPES: ClassVar = ("MODEL", "CLIP")

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        files = [NO_LORA, *import_module("folder_paths").get_filename_list("loras")]
        limits = {"min": -100.0, "max": 100.0, "step": 0.01}
        rows: dict[str, Any] = {}
        for number in range(1, LORA_ROWS + 1):
            rows[f"lora_{number}"] = files, {"default": NO_LORA, "tooltip": "A LoRA of the default, or none."}
            rows[f"strength_{number}"] = "FLOAT", {"default": 1.0, **limits, "tooltip": "Its strength."}
        return {
            "required": {
                "model": ("MODEL", {"tooltip": "The model that the LoRAs change."}),
                "name": name_input("loras"),
                **rows,
                "max_items": (
                    "INT",
                    {"default": 4, "min": 1, "max": 16, "tooltip": "Largest number of LoRAs in a request."},
                ),
                "minimum": (
                    "FLOAT",
                    {"default": -2.0, **limits, "tooltip": "Smallest strength in requests."},
                ),
                "maximum": ("FLOAT", {"default": 2.0, **limits, "tooltip": "Largest strength in requests."}),
                "description": DESCRIPTION_INPUT,
            },
            "optional": {
                "clip": ("CLIP", {"tooltip": "The text encoder, if the LoRAs change it too."}),
            },
        }

    def apply_loras(self, model: Any, clip: Any = None, **values: Any) -> tuple[Any, Any]:
        loader = import_module("nodes").LoraLoader()
        for number in range(1, LORA_ROWS + 1):
            file, strength = values[f"lora_{number}"], values[f"strength_{number}"]
            if file != NO_LORA:
                model, clip = loader.load_lora(model, clip, file, strength, 0 if clip is None else strength)
        return model, clip


#: The names are stored in authors' graphs and must not change.
NODE_CLASS_MAPPINGS = {
    "PixelFactoryChoice": ChoiceParameterNode,
    "PixelFactoryLoras": LoraListParameterNode,
}
NODE_DISPLAY_NAME_MAPPINGS = {
    "PixelFactoryChoice": "Choice parameter",
    "PixelFactoryLoras": "LoRA list parameter",
}
