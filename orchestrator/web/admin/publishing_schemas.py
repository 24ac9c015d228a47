"""Bodies of publishing models."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from orchestrator.catalog import Model
from orchestrator.catalog.example_files import encode_data_url
from orchestrator.catalog.import_export import export_api
from orchestrator.catalog.publishing.own_files import list_own_files
from orchestrator.catalog.publishing.submission import SubmittedModel
from orchestrator.catalog.rendering.expressions import expression_names, is_template
from orchestrator.model_publishing import ModelState
from orchestrator.web.http.request_model import RequestModel
from orchestrator.web.http.response_model import IsoDatetime, ResponseModel
from orchestrator.web.jobs.schemas import JobResponse
from pricing.tariff import Quote

_EXAMPLE_VERSION = "3f2a9c0d5b7e4f1a8c6d2e9b0a4f7c313f2a9c0d5b7e4f1a8c6d2e9b0a4f7c31"
ShortText = Annotated[str, Field(max_length=500)]
JsonObject = dict[str, Any]


class PackOrigin(RequestModel):
    """Where a node pack of the graph is from."""

    id: Annotated[str, Field(min_length=1, max_length=200)] = Field(
        description="Name of the pack.", examples=["comfyui-kjnodes"]
    )
    url: Annotated[str, Field(max_length=500, pattern=r"^(https?://[^\s]+)?$")] | None = Field(
        None, description="Git URL.", examples=["https://github.com/kijai/ComfyUI-KJNodes"]
    )
    commit: Annotated[str, Field(max_length=100)] | None = Field(
        None, description="Commit that is installed.", examples=["50e1a0a1b7c9"]
    )


class WeightDigest(RequestModel):
    """A weight file on the author's machine."""

    path: Annotated[str, Field(min_length=1, max_length=500)] = Field(
        description="Path below `models/`.", examples=["checkpoints/sd_xl_base_1.0.safetensors"]
    )
    sha256: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] | None = Field(
        None, description="SHA-256 of the file, hexadecimal.", examples=[None]
    )
    bytes: Annotated[int, Field(ge=0)] | None = Field(
        None, description="Size of the file.", examples=[6938040682]
    )


class ExampleFile(RequestModel):
    """An input file of the author."""

    name: ShortText = Field(description="Its name in ComfyUI's input folder.", examples=["hare.png"])
    data: str = Field(
        description="The file as a `data:` URL, of at most 8 MiB; all together at most 12 MiB.",
        examples=["data:image/png;base64,iVBORw0KGgo="],
    )


class PublishRequest(RequestModel):
    """A graph to publish as a model."""

    id: Annotated[str, Field(min_length=1, max_length=100)] = Field(
        description="Id of the model.", examples=["my-model"]
    )
    workflow: JsonObject | None = Field(
        None, description="The canvas in ComfyUI's UI format; kept, so that it can be opened again."
    )
    prompt: JsonObject | None = Field(
        None, description="The graph in API format. With `workflow`, both are compared."
    )
    object_info: JsonObject = Field(
        default_factory=dict, description="Facts of the classes that the graph uses, as in `/object_info`."
    )
    packs: Annotated[list[PackOrigin], Field(max_length=200)] = Field(
        default_factory=list, description="Origins of node packs."
    )
    weights: Annotated[list[WeightDigest], Field(max_length=1000)] = Field(
        default_factory=list, description="Digests of weight files."
    )
    example_files: Annotated[list[ExampleFile], Field(max_length=50)] = Field(
        default_factory=list,
        description="The author's own input files that the graph names: the playground offers them, and every"
        " run loads those of fixed parameters.",
    )
    manifest: JsonObject = Field(
        default_factory=dict,
        description="Changes to the drafted manifest: `name`, `description`, `kind`, `license`, `owner`, "
        "`architecture`, `price_class`, `batch`, `max_resolution`, `estimates` (`vram_bytes`, "
        "`load_seconds`, `step_seconds`, `fixed_seconds`), `weight_folders` (folders in `models/` by file), "
        "and `parameters`: changed fields by name, among them `name`; null fixes a parameter at its default.",
        examples=[{"license": "apache-2.0", "price_class": "image"}],
    )
    dry_run: bool = Field(False, description="Only report what the model would be.")
    publish: bool = Field(False, description="Make it live; otherwise it is a draft.")
    replace: bool = Field(
        False,
        description="Replace a model or draft with this id. What its author decided is kept, unless"
        " `manifest` changes it.",
    )
    base_version: Annotated[str, Field(min_length=4, max_length=64)] | None = Field(
        None, description="Live version that is replaced; another one is a conflict.", examples=[None]
    )
    why: ShortText = Field("", description="Reason, for the history.", examples=["sharper hands"])
    test_run: bool = Field(
        False,
        description="Run the draft once and return the result. With `publish`, it is made live only if that"
        " succeeds, and makes at least as many results as `batch` says.",
    )
    test_params: JsonObject = Field(
        default_factory=dict, description="Parameters of the test run; others have their defaults."
    )


class TestRunRequest(RequestModel):
    """A test run of a model's draft, or of the live version."""

    params: JsonObject = Field(
        default_factory=dict, description="Parameters; others have their defaults.", examples=[{}]
    )


class ChangeRequest(RequestModel):
    """Why a model is changed."""

    why: ShortText = Field("", description="Reason, for the history.", examples=["reviewed"])


class RollbackRequest(ChangeRequest):
    """Which version becomes live again."""

    version: Annotated[str, Field(min_length=4, max_length=64)] | None = Field(
        None, description="Version; null: the one before the live one.", examples=[None]
    )


class ReportedProblem(ResponseModel):
    """Something wrong with a graph."""

    node: str = Field(description="Id of the node; empty for the whole graph.", examples=["4"])
    input: str = Field(description="Input of the node.", examples=["ckpt_name"])
    class_type: str = Field(description="Class of the node.", examples=["CheckpointLoaderSimple"])
    code: str = Field(description="Kind of problem.", examples=["missing_node_type"])
    text: str = Field(description="What is wrong.", examples=["unknown node class 'Foo'"])
    is_warning: bool = Field(description="Whether a server runs the graph in spite of it.", examples=[False])


class ReportedParameter(ResponseModel):
    """A parameter that requests may set."""

    name: str = Field(description="Name.", examples=["steps"])
    kind: str = Field(description="Type.", examples=["integer"])
    default: Any = Field(description="Default.", examples=[20])
    required: bool = Field(description="Whether requests must set it.", examples=[False])
    range: JsonObject = Field(
        description="Limits: `minimum`, `maximum`, `step` and `choices`, where they apply.",
        examples=[{"minimum": 1, "maximum": 150}],
    )
    description: str = Field(description="What it does.", examples=["Number of sampling steps."])
    example: Any = Field(
        None,
        description="Value of the author, if there is no default: a text, a seed or the name of a file. A"
        " parameter that is fixed stays at it.",
        examples=["hare.png"],
    )
    where: list[str] = Field(description="Inputs of the graph that it sets.", examples=[["3.steps"]])


class PublishReport(ResponseModel):
    """What a graph would be as a model."""

    id: str = Field(description="Id of the model.", examples=["my-model"])
    usable: bool = Field(description="Whether a server that has the weights runs it.", examples=[True])
    kind: str = Field(description="What it makes.", examples=["image"])
    license: str = Field(description="License.", examples=["apache-2.0"])
    owner: str = Field(description="Who made it.", examples=["Example Ltd."])
    taken_from: str = Field(
        description="Offered model with the same weights, from which unknown fields are taken.",
        examples=["sdxl-1.0"],
    )
    parameters: list[ReportedParameter] = Field(description="What requests may set.")
    fixed: JsonObject = Field(
        description="`NODE.INPUT` and value, the same in every request.", examples=[{"3.scheduler": "karras"}]
    )
    unknown_classes: dict[str, str] = Field(
        description="Classes without facts, and the node pack that has them, if known.",
        examples=[{"KJSomething": "comfyui-kjnodes"}],
    )
    problems: list[ReportedProblem] = Field(description="What is wrong, and warnings.")
    changes: list[str] = Field(
        description="What the import changed or left out, and what is kept of a version that is replaced.",
        examples=[[]],
    )
    questions: list[str] = Field(description="What the author should review.", examples=[["its license"]])
    missing: dict[str, str] = Field(
        description="Fields of `manifest` without which it cannot be live.",
        examples=[{"license": "the license of the weights and the graph"}],
    )
    weights: list[str] = Field(
        description="Weight files that an instance needs.", examples=[["vae/ae.safetensors"]]
    )
    price_class: str = Field(description="Row of the price list.", examples=["image"])
    price_classes: list[str] = Field(description="Rows that there are.", examples=[["image", "video"]])
    cost_usd: float = Field(description="Price of a default request.", examples=[0.0022])
    results: int = Field(
        description="Results of a default request, all of which are charged: a batch that the graph fixes.",
        examples=[1],
    )
    estimated_seconds: float = Field(description="Expected time of a default request.", examples=[4.2])
    state: Literal["", "draft", "live"] = Field(
        "", description="State of a model with this id now; empty for none.", examples=["live"]
    )


class PublishResponse(ResponseModel):
    """A stored model."""

    id: str = Field(description="Id of the model.", examples=["my-model"])
    version: str = Field(description="Digest of the version.", examples=[_EXAMPLE_VERSION])
    state: Literal["draft", "live", "removed"] = Field(description="Its state.", examples=["draft"])
    call_as: str = Field(description="The `model` of requests for this version.", examples=["my-model@draft"])
    report: PublishReport | None = Field(None, description="What the model is.")
    test: JobResponse | None = Field(None, description="The test run, if one was asked for.")


class HistoryEvent(ResponseModel):
    """A change of a model."""

    version: str = Field(description="Digest of the version.", examples=[_EXAMPLE_VERSION])
    action: str = Field(
        description="`draft`, `publish`, `rollback`, `remove`, `discard`, or `found` for edited files.",
        examples=["publish"],
    )
    at: IsoDatetime = Field(description="When.")
    by: str = Field(description="Who.", examples=["key backend (key_5d1f0c8b)"])
    why: str = Field(description="Why.", examples=["sharper hands"])


class ModelVersions(ResponseModel):
    """A model with its versions."""

    id: str = Field(description="Id of the model.", examples=["my-model"])
    owner: str | None = Field(
        description="Account that may change it; null: only operators.", examples=["acct_9b0a4f7c"]
    )
    live: str | None = Field(description="Live version.", examples=[_EXAMPLE_VERSION])
    draft: str | None = Field(description="Draft.", examples=[None])
    shipped: bool = Field(description="Whether the live version ships with the service.", examples=[False])
    versions: list[str] = Field(description="Versions that are kept.", examples=[[_EXAMPLE_VERSION]])
    history: list[HistoryEvent] = Field(description="Changes, newest first.")


class VersionDiff(ResponseModel):
    """What differs between two versions."""

    old: str = Field(description="The first version.", examples=["live"])
    new: str = Field(description="The second version.", examples=["draft"])
    diff: str = Field(description="Unified diff of manifest and graph; empty if equal.", examples=[""])


class ModelFile(ResponseModel):
    """An input file of a model's author."""

    name: str = Field(description="Its name in ComfyUI's input folder.", examples=["hare.png"])
    data: str = Field(description="A `data:` URL.", examples=["data:image/png;base64,iVBORw0KGgo="])


class ModelWorkflow(ResponseModel):
    """The graph of a version."""

    id: str = Field(description="Id of the model.", examples=["my-model"])
    version: str = Field(description="Which version.", examples=["live"])
    workflow: JsonObject = Field(description="The canvas, which ComfyUI opens.")
    prompt: JsonObject = Field(description="The graph of a default request in API format.")
    files: list[ModelFile] = Field(
        description="Files of the author's input folder that the graph loads, without folder marks."
    )
    missing_files: list[str] = Field(
        description="Files that it loads too, whose content is not kept here.", examples=[["hare.png"]]
    )


def to_model_workflow(version: str, model: Model, workflow: dict[str, Any]) -> ModelWorkflow:
    """Return the canvas of a version with the files that it loads."""
    files = list_own_files(model)
    kept = {name: data for name, data in files.items() if data is not None}
    return ModelWorkflow(
        id=model.id,
        version=version,
        workflow=workflow,
        prompt=export_api(model),
        files=[ModelFile(name=name, data=encode_data_url(data)) for name, data in kept.items()],
        missing_files=[name for name in files if name not in kept],
    )


def to_publish_report(
    built: SubmittedModel, quote: Quote, price_classes: list[str], state: ModelState | None
) -> PublishReport:
    """Return what is known about a submitted model."""
    model, manifest = built.model, built.model.manifest
    template = model.source.template
    return PublishReport(
        id=model.id,
        usable=built.usable,
        kind=model.kind.value,
        license=manifest.license,
        owner=manifest.owner,
        taken_from=built.taken_from,
        parameters=[_to_parameter(name, built) for name in model.parameters],
        fixed=built.fixed_inputs,
        unknown_classes=dict(built.imported.unknown_classes),
        problems=[
            ReportedProblem(
                node=problem.node,
                input=problem.input,
                class_type=str(template.get(problem.node, {}).get("class_type", "")),
                code=problem.code,
                text=problem.message,
                is_warning=problem.is_warning,
            )
            for problem in built.problems
        ],
        changes=[*built.imported.changes, *built.kept],
        questions=list(built.questions),
        missing=dict(built.missing),
        weights=[weight.path for weight in manifest.weights],
        price_class=model.price_class,
        price_classes=price_classes,
        cost_usd=quote.usd,
        results=manifest.batch,
        estimated_seconds=model.estimate_run_seconds(model.example_params()),
        state="" if state is None else "live" if state.live else "draft" if state.draft else "",
    )


def _to_parameter(name: str, built: SubmittedModel) -> ReportedParameter:
    spec = built.model.parameters[name].model_dump(mode="json")
    limits = ("minimum", "maximum", "step", "choices", "max_length", "max_items")
    inputs = {
        f"{id}.{input}": text
        for id, node in built.model.source.template.items()
        for input, text in node["inputs"].items()
        if isinstance(text, str)
    }
    return ReportedParameter(
        name=name,
        kind=spec["type"],
        default=spec.get("default"),
        required=bool(spec.get("required")),
        range={key: spec[key] for key in limits if spec.get(key) is not None},
        description=spec.get("description") or "",
        example=built.model.manifest.example.get(name),
        where=[place for place, text in inputs.items() if name in _expression_names(text)],
    )


def _expression_names(text: str) -> frozenset[str]:
    """Return the parameters in the expression of an input."""
    return expression_names(text) if is_template(text) else frozenset()


def to_model_versions(state: ModelState) -> ModelVersions:
    """Return a model with its versions."""
    return ModelVersions(
        id=state.id,
        owner=state.record.owner,
        live=state.live,
        draft=state.draft,
        shipped=state.live is not None and not state.is_own,
        versions=list(state.versions),
        history=[
            HistoryEvent(
                version=event.version, action=event.action.value, at=event.at, by=event.by, why=event.why
            )
            for event in reversed(state.record.events)
        ],
    )
