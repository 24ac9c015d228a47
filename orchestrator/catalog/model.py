"""One model of the catalog: validates request parameters and renders the graph that serves them."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from orchestrator.catalog.checks.node_facts_file import parse_node_facts
from orchestrator.catalog.errors import CatalogError
from orchestrator.catalog.example_files import ExampleFile
from orchestrator.catalog.fixed_files import FIXED_FILES_NAME, read_fixed_files
from orchestrator.catalog.manifest import (
    FIXED_FILES,
    FIXED_FILES_PARAM,
    RESERVED_NAMES,
    TRANSPARENT_PARAM,
    ModelKind,
    ModelManifest,
    OutputNode,
    Requirements,
    WeightFile,
    parse_manifest,
)
from orchestrator.catalog.model_source import ModelSource
from orchestrator.catalog.parameters.example_values import example_value
from orchestrator.catalog.parameters.loras import SERVICE_PARAMETERS
from orchestrator.catalog.parameters.output_sizes import OutputSizes, errors_name_sizes
from orchestrator.catalog.parameters.size_text import Size, scale_to_megapixels
from orchestrator.catalog.parameters.values import (
    FileParameter,
    ImageListParameter,
    ImageParameter,
    IntegerParameter,
    LoraListParameter,
    Parameter,
    check_seeds,
    validate_param,
)
from orchestrator.catalog.rendering.cut_parameters import (
    cuttable_outputs,
    find_cut,
    reject_what_cannot_be_cut,
)
from orchestrator.catalog.rendering.graph import ApiGraph, parse_graph
from orchestrator.catalog.rendering.output_cut import OutputCut
from orchestrator.catalog.rendering.render import CompiledGraph, LastRendered, compile_graph
from orchestrator.catalog.unknown_parameters import unknown_parameter_error
from orchestrator.errors import InvalidRequest, invalid_field

MAX_IMAGES_PER_REQUEST = 4


class Model:
    """A manifest and its compiled graph. Immutable; all methods are pure."""

    def __init__(self, manifest: ModelManifest, graph: CompiledGraph, source: ModelSource) -> None:
        self.manifest = manifest
        self.source = source
        self._graph = graph

    @classmethod
    def parse(
        cls,
        manifest_text: str,
        graph_text: str,
        directory: Path,
        nodes_text: str = "{}",
        examples_text: str = "",
        *,
        fixed_files_text: str | None = None,
        before: Model | None = None,
    ) -> Model:
        """Create a model from the texts of its files; `directory` only names them in errors.

        Without `fixed_files_text`, content of fixed files is not needed. A graph that is the same as that of
        `before` is not compiled again. Renders once, to detect errors of every request. Raises CatalogError.
        """
        manifest = parse_manifest(manifest_text, directory / "model.toml")
        file = directory / "graph.json"
        known = before._graph if before is not None and before.source.graph == graph_text else None
        nodes = parse_graph(graph_text, file) if known is None else known.nodes
        for output in manifest.outputs:
            if output.node not in nodes:
                text = f"{file.name} has no node {output.node!r}"
                raise CatalogError(text, file=directory / "model.toml", where="outputs")
        manifest = reject_what_cannot_be_cut(manifest, nodes)
        names = frozenset(manifest.parameters) | RESERVED_NAMES - {"item", "index"}
        facts = parse_node_facts(nodes_text, directory / "nodes.json")
        source = ModelSource(manifest_text, graph_text, facts, examples_text, fixed_files_text or "")
        if fixed_files_text is not None:
            read_fixed_files(manifest.fixed_files, fixed_files_text, directory / FIXED_FILES_NAME)
        model = cls(manifest, compile_graph(nodes, names, file, known), source)
        try:
            model.render_graph(model.example_params(), filename_prefix="example")
        except InvalidRequest as error:
            raise CatalogError(f"refuses its defaults: {error}", file=directory / "model.toml") from error
        return model

    def __repr__(self) -> str:
        return f"Model({self.id!r})"

    @cached_property
    def digest(self) -> str:
        """The version of the model: the hexadecimal SHA-256 of its manifest and graph."""
        return hashlib.sha256(f"{self.source.manifest}\0{self.source.graph}".encode()).hexdigest()

    @property
    def example_files(self) -> Mapping[str, ExampleFile]:
        """The author's own input files, by parameter."""
        files = self.source.example_files
        return {name: files[name] for name in files if name in self.manifest.parameters}

    @property
    def fixed_files(self) -> Mapping[str, ExampleFile]:
        """The files that every run loads, by their name in expressions. Raises CatalogError."""
        return read_fixed_files(self.manifest.fixed_files, self.source.fixed_files, Path(FIXED_FILES_NAME))

    @property
    def id(self) -> str:
        return self.manifest.id

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def kind(self) -> ModelKind:
        return self.manifest.kind

    @property
    def aliases(self) -> tuple[str, ...]:
        return self.manifest.aliases

    @property
    def description(self) -> str:
        return self.manifest.description

    @property
    def lora_base(self) -> str:
        """What LoRAs have to be made for to fit the model; of a trainer, what its LoRAs fit."""
        return self.manifest.lora_base or self.manifest.architecture

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        return self.manifest.parameters

    @property
    def outputs(self) -> tuple[OutputNode, ...]:
        return self.manifest.outputs

    @property
    def price_class(self) -> str:
        return self.manifest.price_class

    @property
    def requires(self) -> Requirements:
        return self.manifest.requires

    @property
    def makes_video(self) -> bool:
        return self.kind in (ModelKind.VIDEO, ModelKind.I2V)

    @property
    def is_own_graph(self) -> bool:
        """Whether it is the graph of a caller; `own_graphs.model` overrides what differs then."""
        return False

    def run_limit(self, params: Mapping[str, Any]) -> float | None:
        """Return the longest run in seconds; None for no limit."""
        return None

    @property
    def makes_images(self) -> bool:
        return all(output.media == "image" for output in self.outputs)

    @property
    def max_n(self) -> int:
        """The maximum number of results per request."""
        return MAX_IMAGES_PER_REQUEST if self.kind is ModelKind.IMAGE else 1

    @property
    def default_steps(self) -> int:
        """The default number of steps; 1 for a model that does not sample."""
        return int(self._default_value("steps", 1))

    @property
    def default_cfg(self) -> float:
        return float(self._default_value("cfg_scale", 1.0))

    @cached_property
    def image_inputs(self) -> tuple[str, ...]:
        """Names of the parameters whose values are one or more input images."""
        kinds = ImageParameter | ImageListParameter
        return tuple(name for name, spec in self.parameters.items() if isinstance(spec, kinds))

    @cached_property
    def file_inputs(self) -> tuple[str, ...]:
        """Names of the parameters whose values are input images, videos, audio or datasets."""
        return tuple(name for name, spec in self.parameters.items() if isinstance(spec, FileParameter))

    @cached_property
    def lora_inputs(self) -> tuple[str, ...]:
        """Names of the parameters whose values are lists of LoRAs."""
        return tuple(name for name, spec in self.parameters.items() if isinstance(spec, LoraListParameter))

    def default_loras(self, name: str) -> set[str]:
        """Return the LoRAs in the default of a parameter; instances that can run the model have them."""
        spec = self.parameters[name]
        return {str(item["name"]) for item in spec.default} if isinstance(spec, LoraListParameter) else set()

    def validate_params(
        self,
        request: Mapping[str, Any],
        *,
        max_images: int = MAX_IMAGES_PER_REQUEST,
        may_be_blank: Container[str] = (),
    ) -> dict[str, Any]:
        """Return `n` and every parameter of the model, with the default if missing or null in the request.

        Numbers stay as requested, and are charged so, even if the graph makes more (see `OutputCut`); texts
        of `may_be_blank` may be empty. Raises InvalidRequest (`missing_NAME`, `invalid_NAME`, and
        `unknown_parameter` for another name whose value is not null).
        """
        for name, value in request.items():
            if value is not None and name != "n" and name not in self.parameters:
                raise self.unknown_parameter(name)
        params: dict[str, Any] = {"n": self._validate_n(request.get("n"), max_images)}
        with errors_name_sizes(self.output_sizes, request):
            for name, spec in self.parameters.items():
                params[name] = validate_param(name, spec, request, may_be_blank=name in may_be_blank)
        check_seeds(self.parameters, params)
        self._check_needs(params)
        if self.output_sizes and (size := self._requested_size(params)):
            self.output_sizes.validate_area(size)
        return params

    def unknown_parameter(
        self,
        name: str,
        synonyms: Mapping[str, str] = MappingProxyType({}),
        further: Sequence[str] = (),
    ) -> InvalidRequest:
        """Return the error for a parameter that the model does not have, with those that it has.

        `synonyms` are names that the caller may have misspelt, `further` fields of the dialect to list.
        """
        return unknown_parameter_error(self.id, ["n", *self.parameters, *further], name, synonyms)

    def describe_unused(self, request: Mapping[str, Any]) -> tuple[str, ...]:
        """Return a sentence for each parameter of a request that has no effect on the result."""
        sentences = []
        image = self.parameters.get("image")
        # The image is brought to this size before the run.
        used_before = ("width", "height") if isinstance(image, ImageParameter) and image.canvas else ()
        for name, value in request.items():
            spec = self.parameters.get(name)
            if spec is None or value in (None, spec.default) or not str(value).strip():
                continue
            if name not in self._graph.used_names | SERVICE_PARAMETERS and name not in used_before:
                sentences.append(f"`{name}` has no effect: {self.id} does not use one")
            elif spec.replaced_by and request.get(spec.replaced_by):
                sentences.append(f"`{name}` has no effect: `{spec.replaced_by}` takes its place")
        return tuple(sentences)

    @cached_property
    def output_sizes(self) -> OutputSizes | None:
        """The sizes that requests may ask for; None if the model decides on the size itself."""
        return OutputSizes.from_manifest(self.manifest)

    def round_up_to_grid(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the model's parameters among `params`, with integers as the graph makes them."""
        made = {name: value for name, value in params.items() if name in self.parameters}
        for name, spec in self.parameters.items():
            if isinstance(spec, IntegerParameter) and made.get(name) is not None:
                made[name] = spec.round_up_to_grid(made[name])
        return made

    def limit_image_size(self, width: int, height: int, name: str = "image", field: str = "") -> Size:
        """Return the size to which an input image is scaled down; its own if the model takes it.

        Raises InvalidRequest, which names `field`, for one that is too small; for upscalers, also too large.
        """
        spec, size = self.parameters.get(name), Size(width, height)
        if not isinstance(spec, ImageParameter | ImageListParameter):
            return size
        taken = size if self.kind is ModelKind.UPSCALE else spec.limit_size(size)
        spec.validate_dimensions(field or name, *taken)
        return taken

    def output_size(self, params: Mapping[str, Any], input_size: tuple[int, int] | None) -> Size | None:
        """Return the size of the output; None if it is not known before the run.

        `input_size` is the size of the input image, which determines the output of upscalers and of models
        with a `megapixels` parameter.
        """
        scale = self.manifest.scale
        if input_size and params.get("megapixels"):
            return scale_to_megapixels(input_size, params["megapixels"])
        if scale is not None:
            return Size(input_size[0] * scale, input_size[1] * scale) if input_size else None
        return self._requested_size(params)

    def _requested_size(self, params: Mapping[str, Any]) -> Size | None:
        """Return the size in the parameters; None if they leave it to the model."""
        width, height = (params.get(name) for name in ("width", "height"))
        return Size(width, height) if width and height and self.output_sizes else None

    def render_graph(
        self,
        params: Mapping[str, Any],
        *,
        filename_prefix: str,
        preferred_dtypes: Sequence[str] = (),
        available_files: Container[str] | None = None,
        cut: bool = True,
        last: LastRendered | None = None,
    ) -> ApiGraph:
        """Render the API-format graph for validated `params` with a seed, ready for `POST /prompt`.

        Images are the names under which the instance stores the uploads (and `FIXED_FILES_PARAM` those of
        fixed files). `preferred_dtypes` are the weight variants that the GPU prefers, best first;
        `available_files` are those that the instance has (None: all). `cut` adds the nodes that cut outputs;
        with `last`, nodes of the graph before are shared. Raises CatalogError, ValueError without a seed.
        """
        known = {name: value for name, value in params.items() if name in self.parameters}
        requested = {name: spec.default for name, spec in self.parameters.items()} | known
        context = self.round_up_to_grid(requested)
        if "seed" in context and context["seed"] is None:
            raise ValueError(f"{self.id}: `seed` must be set before the graph is rendered")
        weights = self.select_weights(preferred_dtypes, available_files)
        context |= {
            "n": params.get("n", 1),
            "filename_prefix": filename_prefix,
            "weights": {weight.slot: weight.file for weight in weights},
            "weight_dtypes": {weight.slot: weight.load_as for weight in weights},
            "transparent_inputs": list(params.get(TRANSPARENT_PARAM) or ()),
            FIXED_FILES: {slot: file.name for slot, file in self.manifest.fixed_files.items()}
            | dict(params.get(FIXED_FILES_PARAM) or {}),
        }
        graph = self._graph.render(context, last)
        output_cut = find_cut(self.manifest, requested) if cut else OutputCut()
        return output_cut.apply(graph, cuttable_outputs(self.manifest))

    def select_weights(
        self, preferred_dtypes: Sequence[str] = (), available_files: Container[str] | None = None
    ) -> tuple[WeightFile, ...]:
        """Return the files that a run loads, one per slot (see `ModelManifest.select_weights`)."""
        return self.manifest.select_weights(preferred_dtypes, available_files)

    def estimate_run_seconds(self, params: Mapping[str, Any], profile: str | None = None) -> float:
        """Return the expected seconds on a warm GPU, scaled by steps, pixels and frames."""
        estimate, scale = self.manifest.estimate_for(profile), 1.0
        for name in ("width", "height", "num_frames"):
            usual, value = self._default_value(name, None), params.get(name)
            scale *= value / usual if usual and value else 1.0
        steps = params.get("steps") or self.default_steps
        return (estimate.step_seconds * steps + estimate.fixed_seconds) * scale

    def example_params(self, **values: Any) -> dict[str, Any]:
        """Return valid parameters: `values`, what these need, and defaults or examples for all others."""
        needed = {spec.needs for name, spec in self.parameters.items() if spec.needs and name in values}
        given = {
            name: example_value(spec)
            for name, spec in self.parameters.items()
            if (spec.required and not (spec.replaced_by and values.get(spec.replaced_by))) or name in needed
        }
        params = self.validate_params(given | values)
        return params | ({"seed": params["seed"] or 0} if "seed" in params else {})

    def _default_value(self, name: str, fallback: Any) -> Any:
        spec = self.parameters.get(name)
        return fallback if spec is None or spec.default is None else spec.default

    def _check_needs(self, params: Mapping[str, Any]) -> None:
        """Raise InvalidRequest for a value without the parameter that gives it an effect."""
        for name, spec in self.parameters.items():
            if spec.needs and not params[spec.needs] and params[name] != spec.default:
                raise InvalidRequest(
                    f"`{name}` has an effect only with `{spec.needs}`; send that too, or omit `{name}`",
                    code=f"unsupported_{name}",
                    param=name,
                )

    def _validate_n(self, value: object, max_images: int) -> int:
        if value is None:
            return 1
        shown = str(value)[:20]
        if not isinstance(value, int) or isinstance(value, bool):
            raise invalid_field("n", f"must be an integer (got {shown!r})")
        if self.max_n == 1 and value != 1:
            raise invalid_field("n", f"must be 1: {self.id} generates one result per request (got {shown})")
        most = self.max_n if self.max_n == 1 else max_images
        if not 1 <= value <= most:
            more = "; send several requests for more" if value > most else ""
            raise invalid_field("n", f"must be between 1 and {most} (got {shown}){more}")
        return value
