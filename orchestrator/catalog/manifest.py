"""`model.toml`: what a model is, takes, makes, costs and needs. Described in `workflows/README.md`."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Container, Sequence
from datetime import date
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from orchestrator.catalog.errors import CatalogError
from orchestrator.catalog.parameters.values import Parameter, StrictModel

ID_PATTERN = r"^[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?$"
NAME_PATTERN = r"^[a-z][a-z0-9_]*$"
_PARAMETER_NAME = re.compile(NAME_PATTERN)
# Words that the graph's expressions already have a meaning for.
RESERVED_NAMES = frozenset({"n", "filename_prefix", "weights", "weight_dtypes", "item", "index"})


class ModelKind(StrEnum):
    """What a model does; the words of the model list's `type`. The order is the list's order."""

    IMAGE = "image"  #: text, and perhaps pictures, to pictures
    UPSCALE = "upscale"  #: a picture to a larger one
    VIDEO = "video"  #: text to video
    I2V = "i2v"  #: a picture, and text, to video
    MESH = "3d"  #: a picture to a 3D model
    TRAINER = "trainer"  #: a dataset to a file of weights


class OutputNode(StrictModel):
    """A node whose results are the model's results."""

    node: str
    media: Literal["image", "video", "audio", "mesh", "weights"]


class WeightFile(StrictModel):
    """One file under ComfyUI's `models/` folder. Rows with one `slot` are variants of one another."""

    #: What the graph calls it: `{{ weights.SLOT }}`.
    slot: str = Field(pattern=NAME_PATTERN)
    #: `FOLDER/FILE`, relative to `models/`.
    path: str
    #: Empty where nobody knows: then an operator puts the file there.
    url: str = Field("", pattern=r"^(https?://[^\s]+)?$")
    #: Hexadecimal; empty where no trustworthy source was found: then the first download pins it.
    sha256: str = Field("", pattern=r"^([0-9a-f]{64})?$")
    #: Size of the file: exact where `sha256` is given, else rounded; 0 where nobody knows.
    bytes: int = Field(0, ge=0)
    #: Type of most numbers in the file, or what `load_as` makes of them: what a GPU profile prefers one
    #: variant to another by.
    dtype: Literal["nvfp4", "mxfp8", "fp8", "int8", "bf16", "fp16", "fp32"]
    #: `weight_dtype` for loaders that convert while loading: `{{ weight_dtypes.SLOT }}`.
    load_as: Literal["default", "fp8_e4m3fn", "fp8_e4m3fn_fast", "fp8_e5m2"] = "default"
    #: Some tensors of the file and their shapes, which tell it from another network's of the same size.
    tensors: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    license: str = ""
    #: Whether the host asks for an account that has accepted the license.
    gated: bool = False

    @field_validator("path")
    @classmethod
    def _validate_path(cls, path: str) -> str:
        parts = PurePosixPath(path).parts
        if len(parts) < 2 or path.startswith("/") or ".." in parts or "\\" in path or "\0" in path:
            raise ValueError("expected FOLDER/FILE below models/")
        return path

    @property
    def folder(self) -> str:
        return PurePosixPath(self.path).parts[0]

    @property
    def file(self) -> str:
        """What a loader node calls the file: its path below the folder."""
        return str(PurePosixPath(*PurePosixPath(self.path).parts[1:]))


class ResourceEstimate(StrictModel):
    """What a run at the default parameters takes on one kind of GPU. Estimates, until measured."""

    #: Bytes of GPU memory while it runs.
    vram_bytes: int = Field(ge=0)
    #: Seconds from a cold start to the first step.
    load_seconds: float = Field(ge=0)
    #: Seconds of one sampling step at the default size and length.
    step_seconds: float = Field(ge=0)
    #: Seconds around the sampling: text encoding, decoding, saving.
    fixed_seconds: float = Field(0.0, ge=0)


class Resources(ResourceEstimate):
    """Estimates for the profile that the service was made for, and for others where they differ."""

    profiles: dict[str, ResourceEstimate] = Field(default_factory=dict)


class NodePack(StrictModel):
    """A custom node pack without which the graph does not run."""

    name: str
    #: Empty where nobody knows.
    url: str = Field("", pattern=r"^(https?://[^\s]+)?$")
    #: Commit, tag or version to install.
    ref: str = ""


class Requirements(StrictModel):
    #: Lowest ComfyUI version that has every node.
    comfyui: str = Field(pattern=r"^\d+\.\d+\.\d+$")
    packs: tuple[NodePack, ...] = ()


class ModelManifest(StrictModel):
    """A whole `model.toml`."""

    id: str = Field(pattern=ID_PATTERN, max_length=100)
    name: str = Field(min_length=1)
    kind: ModelKind
    #: Who made the model, as in the model list's `owned_by`.
    owner: str
    architecture: str
    description: str
    created: date
    license: str
    featured: bool = False
    #: Further ids under which requests may name it.
    aliases: tuple[str, ...] = ()
    #: `WIDTHxHEIGHT` of the largest output; either side may be the longer one.
    max_resolution: str = Field(pattern=r"^[1-9]\d{0,4}x[1-9]\d{0,4}$")
    #: The row of the tariff by which it is charged.
    price_class: str = Field(pattern=ID_PATTERN)
    #: Width and height of the output are this many times the input picture's, where that decides.
    scale: int | None = Field(None, gt=0)
    parameters: dict[str, Parameter]
    outputs: tuple[OutputNode, ...] = Field(min_length=1)
    weights: tuple[WeightFile, ...] = ()
    requires: Requirements
    resources: Resources

    @field_validator("aliases")
    @classmethod
    def _validate_aliases(cls, aliases: tuple[str, ...]) -> tuple[str, ...]:
        for alias in aliases:
            if not re.fullmatch(ID_PATTERN, alias):
                raise ValueError(f"{alias!r} is no model id")
        return aliases

    @field_validator("parameters")
    @classmethod
    def _validate_parameter_names(cls, parameters: dict[str, Parameter]) -> dict[str, Parameter]:
        for name in parameters:
            if not _PARAMETER_NAME.fullmatch(name) or name in RESERVED_NAMES:
                raise ValueError(f"{name!r} can not be the name of a parameter")
        return parameters

    @model_validator(mode="after")
    def _validate_unique_variants(self) -> Self:
        variants = [(weight.slot, weight.dtype) for weight in self.weights]
        for slot, dtype in variants:
            if variants.count((slot, dtype)) > 1:
                raise ValueError(f"weights: slot {slot} has two variants of {dtype}")
        return self

    @property
    def max_size(self) -> tuple[int, int]:
        width, _, height = self.max_resolution.partition("x")
        return int(width), int(height)

    def select_weights(
        self, preferred_dtypes: Sequence[str], available_files: Container[str] | None = None
    ) -> tuple[WeightFile, ...]:
        """One file for each slot: the variant named first in `preferred_dtypes`, else the slot's first row.

        Where `files` says which files there are, a variant that is there wins over one that is not.
        """
        slots: dict[str, list[WeightFile]] = {}
        for weight in self.weights:
            slots.setdefault(weight.slot, []).append(weight)

        def rank(weight: WeightFile) -> tuple[bool, int]:
            absent = available_files is not None and weight.file not in available_files
            return absent, preferred_dtypes.index(weight.dtype) if weight.dtype in preferred_dtypes else len(
                preferred_dtypes
            )

        return tuple(min(variants, key=rank) for variants in slots.values())

    def estimate_for(self, profile: str | None) -> ResourceEstimate:
        return self.resources.profiles.get(profile or "", self.resources)


def parse_manifest(text: str, file: Path) -> ModelManifest:
    """The manifest in `text`. Raises CatalogError naming `file`, the key and what was expected."""
    try:
        data: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CatalogError(f"not TOML: {error}", file=file) from error
    try:
        # By way of JSON, where strict validation still takes lists as tuples and texts as dates.
        return ModelManifest.model_validate_json(json.dumps(data, default=str))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CatalogError(first["msg"], file=file, where=where) from error
