"""Placeholder outputs for nodes without an implementation, so that every known class runs.

The outputs depend on their types: images and latents are passed through, decoded, encoded or generated;
models, conditionings and the like become opaque values whose identity depends on all inputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from comfy_instances.simulator.execution.weights import SimulatedWeightFile, lookup_weight_file
from comfy_instances.simulator.nodes.call import NodeContext
from comfy_instances.simulator.nodes.images.images import to_uint8
from comfy_instances.simulator.nodes.images.resizing import crop_to_aspect, resize_batch, resize_planes
from comfy_instances.simulator.nodes.models import latents, sampling
from comfy_instances.simulator.nodes.models.placeholder_media import (
    generate_placeholder_audio,
    generate_placeholder_frames,
)
from comfy_instances.simulator.nodes.models.used_inputs import inputs_of_output
from comfy_instances.simulator.nodes.values import (
    AudioClip,
    FloatArray,
    Latent,
    OpaqueValue,
    VideoClip,
    fingerprint,
)
from comfy_instances.simulator.validation.validation import WEIGHT_SUFFIXES

#: Output types that an encoder computes and that do not reference its weights.
ENCODER_OUTPUT_TYPES = frozenset({"CONDITIONING", "CLIP_VISION_OUTPUT", "AUDIO_ENCODER_OUTPUT"})
#: Longest side of the reference image in a conditioning, in pixels.
MAX_REFERENCE_SIDE = 64
#: Latent positions per second of audio.
AUDIO_POSITIONS_PER_SECOND = 25
PRIMITIVE_TYPES: dict[str, type] = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}


def run_placeholder_node(context: NodeContext, **inputs: Any) -> tuple[Any, ...]:
    """Return placeholder outputs for any class, by the output types in its facts."""
    node = _PlaceholderNode(context, inputs, [*_flatten_inputs(inputs)])
    if ENCODER_OUTPUT_TYPES & set(map(str, context.node_facts["output"])):
        context.device.load_weights(w for o in node.opaque_values if o.type != "MODEL" for w in o.weights)
    return tuple(node.make_output(slot, kind) for slot, kind in enumerate(context.node_facts["output"]))


@dataclass(frozen=True, slots=True)
class _PlaceholderNode:
    context: NodeContext
    inputs: dict[str, Any]
    #: Input values, including those in groups.
    values: list[Any]

    def make_output(self, slot: int, output_type: Any) -> Any:
        output_type = output_type[0] if isinstance(output_type, list) else output_type.split(",")[0]
        match output_type:
            case "INT" | "FLOAT" | "STRING" | "BOOLEAN":
                return self.make_primitive(slot, PRIMITIVE_TYPES[output_type])
            case "IMAGE":
                return self.make_image()
            case "MASK":
                return self.make_mask()
            case "LATENT":
                return self.make_latent()
            case "AUDIO":
                return self.first_of_type(AudioClip) or generate_placeholder_audio(
                    fingerprint(self.inputs), self.audio_seconds
                )
            case "VIDEO":
                return self.first_of_type(VideoClip) or VideoClip(self.make_image(), Fraction(24))
            case "SIGMAS":
                given = next((value for value in self.arrays_of_dtype(np.float32) if value.ndim == 1), None)
                return given if given is not None else sampling.make_sigmas(self.inputs.get("steps", 20))[0]
            case "*" | "COMFY_MATCHTYPE_V3":
                return self.values[0] if self.values else None
        return self.make_opaque(slot, output_type)

    def first_of_type(self, value_type: type) -> Any:
        return next((value for value in self.values if isinstance(value, value_type)), None)

    def arrays_of_dtype(self, dtype: Any) -> Iterator[Any]:
        return (value for value in self.values if isinstance(value, np.ndarray) and value.dtype == dtype)

    @property
    def opaque_values(self) -> list[OpaqueValue]:
        return [value for value in self.values if isinstance(value, OpaqueValue)]

    @property
    def has_size(self) -> bool:
        """Whether the node has a width and a height."""
        return isinstance(self.inputs.get("width"), int) and isinstance(self.inputs.get("height"), int)

    @property
    def audio_seconds(self) -> float:
        """Return the duration of the audio in seconds."""
        if "frames_number" in self.inputs:
            return float(self.inputs["frames_number"] / self.inputs.get("frame_rate", 25))
        return float(self.inputs.get("seconds", 1.0))

    def make_primitive(self, slot: int, primitive_type: type) -> Any:
        """Return the input of the same name, or the only input of the type, or the zero value of the type."""
        name = str(self.context.node_facts["output_name"][slot]).lower()
        same = [
            value
            for key, value in self.inputs.items()
            if key.lower() == name and type(value) is primitive_type
        ]
        alike = [value for value in self.values if type(value) is primitive_type]
        if same or len(alike) == 1:
            return (same or alike)[0]
        return primitive_type()

    def make_image(self) -> Any:
        latent = self.first_of_type(Latent)
        if latent is not None:
            return latents.decode_latent(latent)
        given = next((value for value in self.arrays_of_dtype(np.uint8) if value.ndim == 4), None)
        if given is not None:
            return given
        video = self.first_of_type(VideoClip)
        if video is not None:
            return video.frames
        height, width = (self.inputs.get(side) or 512 for side in ("height", "width"))
        small = generate_placeholder_frames(
            fingerprint(self.inputs), 1, max(1, height // 8), max(1, width // 8)
        )
        return resize_batch(to_uint8((np.moveaxis(small, 0, -1) + 1) / 2), width, height, "bicubic")

    def make_mask(self) -> Any:
        given = next((value for value in self.arrays_of_dtype(np.float32) if value.ndim == 3), None)
        if given is not None:
            return given
        image = next(self.arrays_of_dtype(np.uint8), None)
        return np.zeros(image.shape[:3] if image is not None else (1, 64, 64), np.float32)

    def make_latent(self) -> Latent:
        latent: Latent | None = self.first_of_type(Latent)
        fold = latents.find_latent_geometry(
            " ".join([self.context.class_type, *(w.name for w in self.find_weight_files())])
        )
        if any(opaque.type in ("MODEL", "GUIDER") for opaque in self.opaque_values) and latent is not None:
            steps = self.inputs.get("steps", 20)
            digest = fingerprint([self.context.class_type, self.inputs])
            return sampling.simulate_sampling(
                self.context, digest, steps, 1.0, latent, self.opaque_values, guided=True
            )
        if self.has_size:
            sides = (self.inputs["width"], self.inputs["height"], self.inputs.get("length"))
            return self.with_start_image(latents.empty_latent(*sides, self.inputs.get("batch_size", 1), fold))
        if latent is not None:
            return latent
        image = next(self.arrays_of_dtype(np.uint8), None)
        if image is not None:
            return latents.encode_images(image, fold)
        if "seconds" in self.inputs or "frames_number" in self.inputs:
            length = max(1, round(self.audio_seconds * AUDIO_POSITIONS_PER_SECOND))
            return Latent(samples=np.zeros((self.inputs.get("batch_size", 1), 8, 16, length), np.float32))
        return latents.empty_latent(512, 512, None)

    def with_start_image(self, latent: Latent) -> Latent:
        """Insert the start image, if one is given, as the first frame of the latent."""
        start_image = self.find_reference_image()
        if start_image is None or not latent.is_video:
            return latent
        height, width = latent.samples.shape[-2:]
        latent.samples[:, :3, 0] = resize_planes(start_image, width, height, "bilinear")
        return latent

    def make_opaque(self, slot: int, output_type: str) -> OpaqueValue:
        literals = {key: value for key, value in self.inputs.items() if isinstance(value, str | int | float)}
        inherited = {key: value for opaque in self.opaque_values for key, value in opaque.settings.items()}
        return OpaqueValue(
            type=output_type,
            fingerprint=fingerprint([self.context.class_type, slot, inputs_of_output(self.inputs, slot)]),
            weights=()
            if output_type in ENCODER_OUTPUT_TYPES
            else tuple(dict.fromkeys(self.find_weight_files())),
            reference_image=self.find_reference_image(),
            settings=inherited | literals,
        )

    def find_weight_files(self) -> Iterator[SimulatedWeightFile]:
        """Yield the weight files that the node names and those of its inputs."""
        downloads = self.context.class_type.startswith("DownloadAndLoad")
        for name, value in self.inputs.items():
            if isinstance(value, str) and (
                value.endswith(WEIGHT_SUFFIXES) or (downloads and name == "model")
            ):
                yield lookup_weight_file(value)
        for opaque in self.opaque_values:
            yield from opaque.weights

    def find_reference_image(self) -> FloatArray | None:
        """Return a small copy of the first image among the inputs, else of the first one in their values.

        A node with a width and a height crops the image around its centre to their shape.
        """
        image = next((value for value in self.values if _is_image(value)), None)
        if image is not None:
            if self.has_size:
                image = crop_to_aspect(image[:1], self.inputs["width"], self.inputs["height"])
            factor = min(1.0, MAX_REFERENCE_SIDE / max(image.shape[1:3]))
            height, width = (max(1, round(side * factor)) for side in image.shape[1:3])
            small = resize_batch(image[:1], width, height)[0, ..., :3]
            return np.moveaxis(np.asarray(small / np.float32(127.5) - 1, np.float32), -1, 0)
        for value in self.values:
            if isinstance(value, Latent) and value.samples.shape[1] >= 3 and value.samples.any():
                first: FloatArray = latents.to_rgb(value).reshape(-1, *value.samples.shape[-2:], 3)[0]
                return np.moveaxis(first, -1, 0)
            if isinstance(value, OpaqueValue) and value.reference_image is not None:
                return value.reference_image
        return None


def _is_image(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.ndim == 4


def _flatten_inputs(values: Any) -> Iterator[Any]:
    for value in values.values():
        if isinstance(value, dict):
            yield from _flatten_inputs(value)
        else:
            yield value
