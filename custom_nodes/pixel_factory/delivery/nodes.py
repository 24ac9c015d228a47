"""The nodes that a service puts in the place of nodes that save files. Authors do not use them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, ClassVar

import numpy as np

from ..parameters import InputTypes
from .courier import get_courier
from .encoding import JPEG, PNG, WEBP, EncodedFile, encode_image
from .files import held_bytes, run_saver
from .reports import new_row
from .state import PROTOCOLS

CATEGORY = "pixel_factory/delivery"
#: The versions that this pack speaks, for `/object_info`.
PROTOCOL_INPUT: Any = (
    [str(one) for one in PROTOCOLS],
    {"tooltip": "Version of the delivery; the service sets it."},
)
#: Images up to this size stay as they are until an encoder takes them; larger ones are made 8-bit at once, so
#: that what waits takes a quarter of the memory.
MAX_HELD_BYTES = 64 * 2**20
#: What is converted to 8 bits at a time, so that an image is not in memory twice.
_CONVERTED_BYTES = 64 * 2**20


def _current_prompt() -> tuple[str, str, str | None]:
    """Return prompt id, node id and client id of what runs on this thread."""
    server = import_module("server").PromptServer.instance
    context = import_module("comfy_execution.utils").get_executing_context()
    if context is None:
        return str(server.last_prompt_id), str(server.last_node_id), server.client_id
    return context.prompt_id, context.node_id, server.client_id


def _raise_if_interrupted() -> None:
    import_module("comfy.model_management").throw_exception_if_processing_interrupted()


class DeliverImagesNode:
    """Hands a batch of images over to be encoded and delivered, one file each."""

    CATEGORY: ClassVar = CATEGORY
    DESCRIPTION: ClassVar = "Delivers images while the next prompt runs. The service puts it into graphs."
    FUNCTION: ClassVar = "deliver"
    RETURN_TYPES: ClassVar = ()
    OUTPUT_NODE: ClassVar = True

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        quality = {"default": 90, "min": 1, "max": 100, "tooltip": "Of JPEG and WebP."}
        return {
            "required": {
                "images": ("IMAGE", {}),
                "filename_prefix": ("STRING", {"default": "", "tooltip": "Keeps results of runs apart."}),
                "format": ([PNG, JPEG, WEBP], {"tooltip": "Format of the files."}),
                "quality": ("INT", quality),
                "protocol": PROTOCOL_INPUT,
            },
            "optional": {
                "metadata": ("STRING", {"default": "", "tooltip": "XMP packet that the files get."}),
            },
        }

    def deliver(
        self,
        images: Any,
        filename_prefix: str,
        format: str,
        quality: int,
        protocol: str,
        metadata: str = "",
    ) -> Any:
        """Return at once, or when there is room for the images in memory."""
        prompt_id, node, client = _current_prompt()
        courier, rows = get_courier(), []
        for image in images:
            started = time.monotonic()
            if image.ndim != 3 or image.shape[-1] not in (3, 4):
                raise ValueError(f"images must have 3 or 4 channels (got shape {tuple(image.shape)})")
            holds = image.device.type == "cpu" and image.nbytes <= MAX_HELD_BYTES
            reserved = image.nbytes if holds else image.numel()
            courier.budget.acquire(reserved, _raise_if_interrupted)
            take = _hold(image) if holds else _copy_as_8bit(image)
            row = new_row()
            rows.append(row)
            courier.deliver(
                prompt_id=prompt_id,
                node=node,
                client_id=client,
                reserved=reserved,
                blocked=time.monotonic() - started,
                encode=_encoder(take, format, quality, metadata.encode()),
                row=row,
            )
        return {"ui": {"pixel_factory": rows}}


def _encoder(
    take: Callable[[], Any], format: str, quality: int, xmp: bytes
) -> Callable[[], list[EncodedFile]]:
    return lambda: [encode_image(take(), format, quality, xmp)]


def _hold(image: Any) -> Callable[[], Any]:
    """Return a function that makes 8-bit pixels of an image in main memory, as ComfyUI's own nodes do."""
    return lambda: np.clip(255.0 * image.numpy(), 0, 255).astype(np.uint8)


def _copy_as_8bit(image: Any) -> Callable[[], Any]:
    """Start to copy an image as 8-bit pixels; return a function that waits for the copy.

    A graphics card converts it and goes on with the next work while the copy is under way.
    """
    torch = import_module("torch")
    pixels = torch.empty(image.shape, dtype=torch.uint8, device=image.device)
    rows = max(1, _CONVERTED_BYTES // max(1, image[0].nbytes))
    for start in range(0, len(image), rows):
        pixels[start : start + rows] = (image[start : start + rows] * 255.0).clamp_(0, 255)
    if pixels.device.type != "cuda":
        return lambda: pixels.cpu().numpy()
    copy = torch.empty(pixels.shape, dtype=torch.uint8, pin_memory=True)
    copy.copy_(pixels, non_blocking=True)
    done = torch.cuda.Event()
    done.record()

    def wait() -> Any:
        done.synchronize()
        # The pixels on the card must stay until the copy is made.
        return copy.numpy() if pixels is not None else None

    return wait


class DeliverFilesNode:
    """Has another node save its files in an encoder thread, and delivers them."""

    CATEGORY: ClassVar = CATEGORY
    DESCRIPTION: ClassVar = (
        "Delivers what a node saves while the next prompt runs. The service puts it into graphs."
    )
    FUNCTION: ClassVar = "deliver"
    RETURN_TYPES: ClassVar = ()
    OUTPUT_NODE: ClassVar = True

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        return {
            "required": {
                "value": ("*", {"tooltip": "What is saved."}),
                "saver": ("STRING", {"default": "", "tooltip": "Class of the node that saves it."}),
                "value_input": ("STRING", {"default": "", "tooltip": "Its input for the value."}),
                "prefix_input": ("STRING", {"default": "", "tooltip": "Its input for the names of files."}),
                "arguments": ("STRING", {"default": "{}", "tooltip": "Its other inputs, as JSON."}),
                "filename_prefix": ("STRING", {"default": "", "tooltip": "Keeps results of runs apart."}),
                "protocol": PROTOCOL_INPUT,
            }
        }

    @classmethod
    def VALIDATE_INPUTS(cls, saver: str, arguments: str) -> bool | str:
        if saver not in import_module("nodes").NODE_CLASS_MAPPINGS:
            return f"saver: there is no node {saver}"
        try:
            return isinstance(json.loads(arguments), dict) or "arguments: must be a JSON object"
        except ValueError:
            return "arguments: must be JSON"

    def deliver(
        self,
        value: Any,
        saver: str,
        value_input: str,
        prefix_input: str,
        arguments: str,
        filename_prefix: str,
        protocol: str,
    ) -> Any:
        """Return at once, or when there is room for the value in memory."""
        started = time.monotonic()
        prompt_id, node, client = _current_prompt()
        courier, reserved, row = get_courier(), held_bytes(value), new_row()
        courier.budget.acquire(reserved, _raise_if_interrupted)
        inputs = {**json.loads(arguments), value_input: value}

        def encode() -> Sequence[EncodedFile]:
            return run_saver(saver, inputs, prefix_input)

        courier.deliver(
            prompt_id=prompt_id,
            node=node,
            client_id=client,
            reserved=reserved,
            blocked=time.monotonic() - started,
            encode=encode,
            row=row,
        )
        return {"ui": {"pixel_factory": [row]}}


#: The names are part of the protocol with the service.
NODE_CLASS_MAPPINGS = {
    "PixelFactoryDeliverImages": DeliverImagesNode,
    "PixelFactoryDeliverFiles": DeliverFilesNode,
}
NODE_DISPLAY_NAME_MAPPINGS = {
    "PixelFactoryDeliverImages": "Deliver images",
    "PixelFactoryDeliverFiles": "Deliver files",
}
