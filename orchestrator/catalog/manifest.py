"""The manifest of a model, `model.toml`. Its fields are described in `workflows/README.md`."""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter
from collections.abc import Container, Sequence
from datetime import date
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Self

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from orchestrator.catalog.errors import CatalogError, first_validation_error
from orchestrator.catalog.parameters.size_text import Size
from orchestrator.catalog.parameters.values import Parameter, StrictModel
from orchestrator.catalog.tasks import TaskModels
from orchestrator.errors import InvalidRequest

ID_PATTERN = r"^[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?$"
NAME_PATTERN = r"^[a-z][a-z0-9_]*$"
_PARAMETER_NAME = re.compile(NAME_PATTERN)
#: Longest part of a wrong name that an error repeats, in characters.
MAX_SHOWN_NAME = 60
# Names that expressions of the graph define already.
RESERVED_NAMES = frozenset(
    {"n", "filename_prefix", "weights", "weight_dtypes", "transparent_inputs", "fixed_files", "item", "index"}
    # Keywords of expressions: `{{ true }}` is the constant and not a parameter.
    | {"true", "false", "none", "and", "or", "not", "in", "is", "if", "else"}
)
#: Parameter of a job with the names of its parameters whose images have transparent pixels, if the graph asks
#: for them (`transparent_inputs`). No parameter of a model has a name like it.
TRANSPARENT_PARAM = "@transparent_inputs"
#: Most results of a run.
MAX_BATCH = 4096
#: Most parameters of a model: each is checked with requests of its own.
MAX_PARAMETERS = 300
#: Most files of its author that a run loads.
MAX_FIXED_FILES = 1000
#: Name of the files that the author fixed, in the manifest and in expressions.
FIXED_FILES = "fixed_files"
#: Parameter of a run with the names under which its instance stores the fixed files, by slot.
FIXED_FILES_PARAM = "@fixed_files"


class ModelKind(StrEnum):
    """What a model generates; the `type` of the model list, which is sorted in this order."""

    IMAGE = "image"  #: text, and optionally images, to images
    UPSCALE = "upscale"  #: an image to a larger one
    VIDEO = "video"  #: text to video
    I2V = "i2v"  #: an image and text to video
    AUDIO = "audio"  #: text to music, speech or sounds
    MESH = "3d"  #: an image to a 3D model
    TEXT = "text"  #: text, and optionally images, to a text
    TRAINER = "trainer"  #: a dataset to a weight file


#: Dtypes of files that can be made by quantizing others.
QUANTIZED_DTYPES = ("nvfp4", "mxfp8", "fp8")


def validate_weight_path(path: str) -> str:
    """Return `path`. Raises ValueError unless it is a file in a folder of ComfyUI's `models/`."""
    parts = PurePosixPath(path).parts
    if len(parts) < 2 or path.startswith("/") or ".." in parts or "\\" in path or "\0" in path:
        raise ValueError("must be FOLDER/FILE, relative to models/")
    return path


def is_input_path(name: str) -> bool:
    """Return whether a name is that of a file in ComfyUI's input folder."""
    is_plain = not name.startswith(("/", "~")) and not re.match("[A-Za-z]:", name)
    is_file = bool(PurePosixPath(name).name) and not name.endswith("/")
    return is_plain and is_file and ".." not in PurePosixPath(name).parts and not {"\\", "\0"} & set(name)


class OutputNode(StrictModel):
    """A node whose files are the outputs of the model."""

    node: str
    media: Literal["image", "video", "audio", "mesh", "text", "weights"]
    #: What the author calls the result; empty for none.
    name: str = Field("", pattern=r"^([a-z][a-z0-9_]*)?$", max_length=100)


class FixedFile(StrictModel):
    """A file of the author that every run loads; `fixed_files.json` has its content."""

    #: In ComfyUI's input folder.
    name: str = Field(min_length=1, max_length=500)
    media: Literal["image", "video", "audio"]
    #: Hexadecimal; empty if the content is not known, so that the model cannot be live.
    sha256: str = Field("", pattern=r"^([0-9a-f]{64})?$")

    @field_validator("name")
    @classmethod
    def _validate_name(cls, name: str) -> str:
        if not is_input_path(name):
            raise ValueError("must be the path of a file in ComfyUI's input folder")
        return name


class SourceWeightFile(StrictModel):
    """The file of 16 bits that an operator's machine makes a quantized one from."""

    #: `FOLDER/FILE`, relative to `models/`; it may be a row of its own.
    path: str
    url: str = Field("", pattern=r"^(https?://[^\s]+)?$")
    sha256: str = Field("", pattern=r"^([0-9a-f]{64})?$")
    #: Exact if `sha256` is given, else rounded; 0 if unknown.
    bytes: int = Field(0, ge=0)
    dtype: Literal["bf16", "fp16", "fp32"] = "bf16"
    #: Path of another row that has what this file lacks, such as text encoders: it is copied as it is.
    parts: str = ""
    #: Whether the host requires an account that has accepted the license.
    gated: bool = False


class WeightFile(StrictModel):
    """One file in ComfyUI's `models/` folder. Rows with the same `slot` are variants of one file."""

    #: Name in expressions of the graph: `{{ weights.SLOT }}`.
    slot: str = Field(pattern=NAME_PATTERN)
    #: `FOLDER/FILE`, relative to `models/`.
    path: str
    #: Download URL; empty if unknown: the operator puts the file there.
    url: str = Field("", pattern=r"^(https?://[^\s]+)?$")
    #: Hexadecimal; empty if no trustworthy source states it: the first download pins it.
    sha256: str = Field("", pattern=r"^([0-9a-f]{64})?$")
    #: Size of the file: exact if `sha256` is given, else rounded; 0 if unknown.
    bytes: int = Field(0, ge=0)
    #: Dominant dtype of the file, or that after the conversion by `load_as`. GPU profiles prefer variants
    #: by it.
    dtype: Literal["nvfp4", "mxfp8", "fp8", "int8", "bf16", "fp16", "fp32"]
    #: `weight_dtype` of a loader that converts while loading: `{{ weight_dtypes.SLOT }}`.
    load_as: Literal["default", "fp8_e4m3fn", "fp8_e4m3fn_fast", "fp8_e5m2"] = "default"
    #: Names and shapes of some tensors, to detect a file of another network.
    tensors: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    license: str = ""
    #: Whether the host requires an account that has accepted the license.
    gated: bool = False
    #: How the file comes about if it is not downloaded: `weights pull` quantizes `source`.
    made_by: Literal["", "quantize"] = ""
    #: What it is made from.
    source: SourceWeightFile | None = None
    #: Recipe by which it is made; empty for the one that fits.
    recipe: str = ""

    @field_validator("path")
    @classmethod
    def _validate_path(cls, path: str) -> str:
        # Without the parts that mean nothing, as in `loras//./a.safetensors`.
        return str(PurePosixPath(validate_weight_path(path)))

    @model_validator(mode="after")
    def _validate_making(self) -> Self:
        if bool(self.made_by) != (self.source is not None):
            raise ValueError(f"{self.path}: `made_by` needs a `source`, and a `source` needs `made_by`")
        if self.made_by and (self.url or self.sha256):
            raise ValueError(f"{self.path}: a file that is made here has no `url` and no `sha256`")
        if self.made_by and self.dtype not in QUANTIZED_DTYPES:
            raise ValueError(f"{self.path}: `made_by` needs a dtype of {', '.join(QUANTIZED_DTYPES)}")
        for path in (self.source.path, self.source.parts) if self.source is not None else ():
            if path:
                validate_weight_path(path)
        return self

    @model_serializer(mode="wrap")
    def _omit_absent_source(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out an absent source: TOML has no null."""
        fields: dict[str, Any] = serialize(self)
        return {name: value for name, value in fields.items() if name != "source" or value is not None}

    @property
    def folder(self) -> str:
        """The folder below `models/`."""
        return self.path.partition("/")[0]

    @property
    def file(self) -> str:
        """The name that a loader node uses: the path below the folder."""
        return self.path.partition("/")[2]


class ResourceEstimate(StrictModel):
    """Estimated memory and time of a run with default parameters on one kind of GPU."""

    #: GPU memory during the run.
    vram_bytes: int = Field(ge=0)
    #: Time from a cold start to the first step.
    load_seconds: float = Field(ge=0)
    #: Time of one sampling step at the default size and length.
    step_seconds: float = Field(ge=0)
    #: Time outside of sampling: text encoding, decoding, saving.
    fixed_seconds: float = Field(0.0, ge=0)
    #: What the figures are estimated from, where they were not measured; empty if unknown.
    estimated_from: str = ""


class Resources(ResourceEstimate):
    """Estimates for the reference GPU profile, and for other profiles that differ."""

    profiles: dict[str, ResourceEstimate] = Field(default_factory=dict)


class NodePack(StrictModel):
    """A custom node pack that the graph needs."""

    name: str
    #: Git URL; empty if unknown.
    url: str = Field("", pattern=r"^(https?://[^\s]+)?$")
    #: Commit, tag or version to install.
    ref: str = ""


class Requirements(StrictModel):
    """What an instance needs to run the graph."""

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
    #: What LoRAs have to be made for to fit the model, or, of a trainer, what its LoRAs fit; empty for
    #: `architecture`.
    lora_base: str = ""
    description: str
    created: date
    license: str
    featured: bool = False
    #: Further ids that requests may use.
    aliases: tuple[str, ...] = ()
    #: Models of other tasks, by the alias that serves them too (a row of `aliases` with a `name`).
    alias_tasks: dict[str, TaskModels] = Field(default_factory=dict)
    #: `WIDTHxHEIGHT` of the largest output; either side may be the longer one.
    max_resolution: str = Field(pattern=r"^[1-9]\d{0,4}x[1-9]\d{0,4}$")
    #: The tariff row that sets the price.
    price_class: str = Field(pattern=ID_PATTERN)
    #: Results that a run makes, all of which are charged: a batch that the graph fixes.
    batch: int = Field(1, ge=1, le=MAX_BATCH)
    #: Factor from the sides of the input image to those of the output, for upscalers.
    scale: int | None = Field(None, gt=0)
    parameters: dict[str, Parameter]
    #: Values with which the author shows the model: the prompt, and names of files in ComfyUI's input folder.
    example: dict[str, str | int | float | bool] = Field(default_factory=dict)
    #: A small picture that the author has made with the graph, as a `data:` URL; empty for none.
    example_picture: str = Field(
        "", pattern=r"^(data:image/webp;base64,[A-Za-z0-9+/=]+)?$", max_length=100_000
    )
    #: Files that every run loads, by their name in expressions: `{{ fixed_files.NAME }}`.
    fixed_files: dict[str, FixedFile] = Field(default_factory=dict)
    outputs: tuple[OutputNode, ...] = Field(min_length=1)
    weights: tuple[WeightFile, ...] = ()
    requires: Requirements
    resources: Resources

    @field_validator("aliases")
    @classmethod
    def _validate_aliases(cls, aliases: tuple[str, ...]) -> tuple[str, ...]:
        for alias in aliases:
            if not re.fullmatch(ID_PATTERN, alias):
                raise ValueError(f"{alias!r} is not a valid model id")
        return aliases

    @field_validator("parameters")
    @classmethod
    def _validate_parameter_names(cls, parameters: dict[str, Parameter]) -> dict[str, Parameter]:
        if len(parameters) > MAX_PARAMETERS:
            raise ValueError(f"a model has at most {MAX_PARAMETERS} parameters (got {len(parameters)})")
        for name in parameters:
            if not _PARAMETER_NAME.fullmatch(name) or name in RESERVED_NAMES:
                raise ValueError(
                    f"{name[:MAX_SHOWN_NAME]!r} is not a valid parameter name: use a-z, 0-9 and _, with a"
                    f" letter at the beginning, but none of {', '.join(sorted(RESERVED_NAMES))}"
                )
        for name, spec in parameters.items():
            for other in (spec.needs, spec.replaced_by):
                if other and (other == name or other not in parameters):
                    raise ValueError(f"{name}: there is no other parameter {other!r}")
        return parameters

    @field_validator("fixed_files")
    @classmethod
    def _validate_fixed_names(cls, fixed_files: dict[str, FixedFile]) -> dict[str, FixedFile]:
        if len(fixed_files) > MAX_FIXED_FILES:
            raise ValueError(
                f"a run loads at most {MAX_FIXED_FILES} files of its author (got {len(fixed_files)}); make"
                " some of them parameters, or remove the nodes that load them"
            )
        for name in fixed_files:
            if not _PARAMETER_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not a valid name: use a-z, 0-9 and _")
        return fixed_files

    @model_validator(mode="after")
    def _validate_example(self) -> Self:
        for name, value in self.example.items():
            if name not in self.parameters:
                raise ValueError(f"example: there is no parameter {name!r}; remove it from the example")
            try:
                self.parameters[name].validate_value(name, value)
            except InvalidRequest as error:
                raise ValueError(f"example: {error}") from error
        return self

    @model_validator(mode="after")
    def _validate_unique_variants(self) -> Self:
        variants = Counter((weight.slot, weight.dtype) for weight in self.weights)
        for (slot, dtype), count in variants.items():
            if count > 1:
                raise ValueError(f"weights: slot {slot} has two variants with dtype {dtype}")
        return self

    @model_validator(mode="after")
    def _validate_parts(self) -> Self:
        paths = {weight.path for weight in self.weights}
        for weight in self.weights:
            if weight.source and weight.source.parts and weight.source.parts not in paths:
                raise ValueError(
                    f"weights: `parts` of {weight.path} must be the path of another row"
                    f" (got {weight.source.parts!r})"
                )
        return self

    @property
    def max_size(self) -> Size:
        """The sides of the largest output in pixels."""
        width, _, height = self.max_resolution.partition("x")
        return Size(int(width), int(height))

    def select_weights(
        self, preferred_dtypes: Sequence[str], available_files: Container[str] | None = None
    ) -> tuple[WeightFile, ...]:
        """Return one file per slot: the variant that is first in `preferred_dtypes`, else the first row.

        If `available_files` is given, available variants win over others.
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
        """Return the estimate for a GPU profile; the reference profile's if there is none."""
        return self.resources.profiles.get(profile or "", self.resources)


def parse_manifest(text: str, file: Path) -> ModelManifest:
    """Parse a manifest. Raises CatalogError naming `file`, the key and what is expected."""
    try:
        data: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CatalogError(f"not valid TOML: {error}", file=file) from error
    try:
        # Strict validation accepts lists as tuples and texts as dates only in JSON.
        return ModelManifest.model_validate_json(json.dumps(_split_aliases(data), default=str))
    except ValidationError as error:
        raise first_validation_error(error, file) from error


def _split_aliases(data: dict[str, Any]) -> dict[str, Any]:
    """Take rows such as `{ name = "flux", edit = "flux-2-dev" }` among the aliases apart."""
    if not isinstance(data.get("aliases"), list):
        return data
    rows = [row for row in data["aliases"] if isinstance(row, dict) and isinstance(row.get("name"), str)]
    # A video model serves no request for images, whatever the name.
    own_task = "video" if data.get("kind") in (ModelKind.VIDEO, ModelKind.I2V) else "model"
    tasks = {row["name"]: {own_task: data.get("id")} | row for row in rows}
    for row in tasks.values():
        del row["name"]
    names = [row["name"] if row in rows else row for row in data["aliases"]]
    return data | {"aliases": names, "alias_tasks": tasks}
