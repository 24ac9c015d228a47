"""What a node without an implementation of its own yields, so that any known class runs.

Its outputs follow from their types: pictures and latents are passed on, decoded, encoded or dreamt up;
models, conditionings and the like become values whose identity depends on all that went in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from comfy_instances.simulator.execution.weights import Weights, weights
from comfy_instances.simulator.nodes.call import Call
from comfy_instances.simulator.nodes.images.images import to_bytes
from comfy_instances.simulator.nodes.images.resizing import resize, resize_planes
from comfy_instances.simulator.nodes.models import latents, sampling
from comfy_instances.simulator.nodes.models.placeholder_media import dream, sound
from comfy_instances.simulator.nodes.values import Audio, Floats, Latent, Opaque, Video, fingerprint
from comfy_instances.simulator.validation.validation import WEIGHT_SUFFIXES

#: Outputs for which an encoder runs, and which do not hold on to it.
ENCODED = frozenset({"CONDITIONING", "CLIP_VISION_OUTPUT", "AUDIO_ENCODER_OUTPUT"})
#: Longest side of the picture that a conditioning remembers.
MEMORY_SIDE = 64
#: Latent positions per second of sound.
SOUND_RATE = 25
PRIMITIVES: dict[str, type] = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}


def stand_in(call: Call, **inputs: Any) -> tuple[Any, ...]:
    """Outputs for any class, by the types that its facts name."""
    node = _StandIn(call, inputs, [*_flat(inputs)])
    if ENCODED & set(map(str, call.facts["output"])):
        call.device.use(w for o in node.opaques if o.type != "MODEL" for w in o.weights)
    return tuple(node.output(slot, kind) for slot, kind in enumerate(call.facts["output"]))


@dataclass(frozen=True, slots=True)
class _StandIn:
    call: Call
    inputs: dict[str, Any]
    #: Input values, those within groups included.
    values: list[Any]

    def output(self, slot: int, kind: Any) -> Any:
        kind = kind[0] if isinstance(kind, list) else kind.split(",")[0]
        match kind:
            case "INT" | "FLOAT" | "STRING" | "BOOLEAN":
                return self.primitive(slot, PRIMITIVES[kind])
            case "IMAGE":
                return self.image()
            case "MASK":
                return self.mask()
            case "LATENT":
                return self.latent()
            case "AUDIO":
                return self.first(Audio) or sound(fingerprint(self.inputs), self.seconds)
            case "VIDEO":
                return self.first(Video) or Video(self.image(), Fraction(24))
            case "SIGMAS":
                given = next((value for value in self.arrays(np.float32) if value.ndim == 1), None)
                return given if given is not None else sampling.schedule(self.inputs.get("steps", 20))[0]
            case "*" | "COMFY_MATCHTYPE_V3":
                return self.values[0] if self.values else None
        return self.opaque(slot, kind)

    def first(self, kind: type) -> Any:
        return next((value for value in self.values if isinstance(value, kind)), None)

    def arrays(self, dtype: Any) -> Iterator[Any]:
        return (value for value in self.values if isinstance(value, np.ndarray) and value.dtype == dtype)

    @property
    def opaques(self) -> list[Opaque]:
        return [value for value in self.values if isinstance(value, Opaque)]

    @property
    def seconds(self) -> float:
        """Of sound."""
        if "frames_number" in self.inputs:
            return float(self.inputs["frames_number"] / self.inputs.get("frame_rate", 25))
        return float(self.inputs.get("seconds", 1.0))

    def primitive(self, slot: int, kind: type) -> Any:
        """The input of the same name, or the only one of that type, or its zero."""
        name = str(self.call.facts["output_name"][slot]).lower()
        same = [value for key, value in self.inputs.items() if key.lower() == name and type(value) is kind]
        alike = [value for value in self.values if type(value) is kind]
        if same or len(alike) == 1:
            return (same or alike)[0]
        return kind()

    def image(self) -> Any:
        latent = self.first(Latent)
        if latent is not None:
            return latents.decode(latent)
        given = next((value for value in self.arrays(np.uint8) if value.ndim == 4), None)
        if given is not None:
            return given
        video = self.first(Video)
        if video is not None:
            return video.frames
        height, width = (self.inputs.get(side) or 512 for side in ("height", "width"))
        small = dream(fingerprint(self.inputs), 1, max(1, height // 8), max(1, width // 8))
        return resize(to_bytes((np.moveaxis(small, 0, -1) + 1) / 2), width, height, "bicubic")

    def mask(self) -> Any:
        given = next((value for value in self.arrays(np.float32) if value.ndim == 3), None)
        if given is not None:
            return given
        image = next(self.arrays(np.uint8), None)
        return np.zeros(image.shape[:3] if image is not None else (1, 64, 64), np.float32)

    def latent(self) -> Latent:
        latent: Latent | None = self.first(Latent)
        fold = latents.geometry(" ".join([self.call.class_type, *(w.name for w in self.weights())]))
        if any(opaque.type in ("MODEL", "GUIDER") for opaque in self.opaques) and latent is not None:
            steps = self.inputs.get("steps", 20)
            digest = fingerprint([self.call.class_type, self.inputs])
            return sampling.sample(self.call, digest, steps, 1.0, latent, self.opaques, guided=True)
        if "width" in self.inputs and "height" in self.inputs:
            sides = (self.inputs["width"], self.inputs["height"], self.inputs.get("length"))
            return self.with_start(latents.empty(*sides, self.inputs.get("batch_size", 1), fold))
        if latent is not None:
            return latent
        image = next(self.arrays(np.uint8), None)
        if image is not None:
            return latents.encode(image, fold)
        if "seconds" in self.inputs or "frames_number" in self.inputs:
            length = max(1, round(self.seconds * SOUND_RATE))
            return Latent(samples=np.zeros((self.inputs.get("batch_size", 1), 8, 16, length), np.float32))
        return latents.empty(512, 512, None)

    def with_start(self, latent: Latent) -> Latent:
        """The latent with a start image, if one was given, in its first frame."""
        picture = self.picture()
        if picture is None or not latent.is_video:
            return latent
        height, width = latent.samples.shape[-2:]
        latent.samples[:, :3, 0] = resize_planes(picture, width, height, "bilinear")
        return latent

    def opaque(self, slot: int, kind: str) -> Opaque:
        literals = {key: value for key, value in self.inputs.items() if isinstance(value, str | int | float)}
        inherited = {key: value for opaque in self.opaques for key, value in opaque.settings.items()}
        return Opaque(
            type=kind,
            fingerprint=fingerprint([self.call.class_type, slot, self.inputs]),
            weights=() if kind in ENCODED else tuple(dict.fromkeys(self.weights())),
            picture=self.picture(),
            settings=inherited | literals,
        )

    def weights(self) -> Iterator[Weights]:
        """Files that the node names, and what its inputs hold."""
        downloads = self.call.class_type.startswith("DownloadAndLoad")
        for name, value in self.inputs.items():
            if isinstance(value, str) and (
                value.endswith(WEIGHT_SUFFIXES) or (downloads and name == "model")
            ):
                yield weights(value)
        for opaque in self.opaques:
            yield from opaque.weights

    def picture(self) -> Floats | None:
        """A small copy of the first picture among the inputs or behind them."""
        for value in self.values:
            if isinstance(value, np.ndarray) and value.ndim == 4:
                factor = min(1.0, MEMORY_SIDE / max(value.shape[1:3]))
                height, width = (max(1, round(side * factor)) for side in value.shape[1:3])
                small = resize(value[:1], width, height)[0, ..., :3]
                return np.moveaxis(np.asarray(small / np.float32(127.5) - 1, np.float32), -1, 0)
            if isinstance(value, Latent) and value.samples.shape[1] >= 3 and value.samples.any():
                first: Floats = latents.colours(value).reshape(-1, *value.samples.shape[-2:], 3)[0]
                return np.moveaxis(first, -1, 0)
            if isinstance(value, Opaque) and value.picture is not None:
                return value.picture
        return None


def _flat(values: Any) -> Iterator[Any]:
    for value in values.values():
        if isinstance(value, dict):
            yield from _flat(value)
        else:
            yield value
