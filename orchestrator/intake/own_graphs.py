"""From a caller's graph to a prepared request: policy, files, price."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from orchestrator.billing.charging import GPU_SECOND_PARAM
from orchestrator.billing.price_book import PriceBook
from orchestrator.catalog.checks.graph_checks import GraphProblem
from orchestrator.catalog.rendering.graph import ApiGraph
from orchestrator.errors import ServiceUnavailable, invalid_field
from orchestrator.fair_slots import FairSlots
from orchestrator.intake.graph_files import GraphFile, GraphFiles
from orchestrator.intake.request_preparer import GenerationRequest, PreparedRequest
from orchestrator.jobs import Output
from orchestrator.media.errors import CorruptMedia
from orchestrator.media.formats import probe_media
from orchestrator.media.sniffing import MediaInfo
from orchestrator.own_graphs import OWN_GRAPH_ID
from orchestrator.own_graphs.model import (
    FILE_INDEX,
    FILES_PARAM,
    GRAPH_PARAM,
    OUTPUTS_PARAM,
    SECONDS_PARAM,
    OwnGraphModel,
    own_graph_model,
)
from orchestrator.own_graphs.policy import CheckedGraph, GraphPolicy
from orchestrator.own_graphs.rejections import GraphRejected, NodeProblem, shown
from orchestrator.own_graphs.values import FileUse, is_asset
from orchestrator.storage.object_store import ObjectStore
from pricing.gpu_time import price_gpu_time
from pricing.tariff import DEFAULT_TARIFF, ModelNotPriced, Quote

#: Begins the parameters of a job that its graph does not see: `@client`, `@labels`, ....
OPTION_MARK = "@"
#: How the caller named the files of the graph.
SENT_FILES_PARAM = "@sent_files"
#: How many times the expected time of a run is held.
HOLD_FACTOR = 4.0
#: Least seconds that are held.
MIN_SECONDS = 30.0


class InstanceGraphs(Protocol):
    """What instances say of a graph."""

    async def find_problems(self, model: OwnGraphModel) -> Sequence[GraphProblem]:
        """Return why no instance can run a graph; nothing if one can, or if that is not known."""
        ...


class ResultFinder(Protocol):
    """Finds results of an account's earlier jobs."""

    async def find(self, account_id: str, reference: str) -> Output | None:
        """Return a result by its id or its file name."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredInput:
    """A file of a graph, as an input file of its job (see `InputFile`)."""

    data: bytes
    content_type: str
    sha256: str


@dataclass(frozen=True, slots=True)
class ResolvedGraph:
    """A graph whose files were found."""

    graph: ApiGraph
    #: The files by key of their content.
    inputs: Mapping[str, StoredInput]
    #: What the caller has written for each of them.
    sent: Sequence[Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnGraphRequest:
    """A graph of a caller, with what its dialect says besides."""

    graph: object
    origin: str
    idempotency_key: str | None = None
    #: Longest run in seconds that the caller pays for; None for what the graph seems to need.
    max_seconds: float | None = None
    #: Stored with the job and invisible to the graph; the names begin with OPTION_MARK.
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnGraphPreparer:
    """Prepares callers' graphs."""

    policy: GraphPolicy
    files: GraphFiles
    results: ResultFinder
    objects: ObjectStore
    instances: InstanceGraphs
    get_price_book: Callable[[], PriceBook]
    #: Longest run of any graph, in seconds.
    max_seconds: float
    #: Most pixels of an input image.
    max_pixels: int
    slots: FairSlots

    async def prepare(self, account_id: str, request: OwnGraphRequest) -> PreparedRequest:
        """Return a validated graph with its price. Raises GraphRejected, InvalidRequest, RateLimited."""
        async with self.slots.slot(account_id):
            checked = await asyncio.to_thread(self.policy.check, request.graph)
        resolved = await self._resolve_files(account_id, checked)
        graph, inputs = resolved.graph, resolved.inputs
        model = own_graph_model(graph, checked.outputs)
        await self._check_instances(model)
        seconds = self._seconds_to_hold(checked, request.max_seconds)
        rate = self._micros_per_second()
        keys = list(inputs)
        params = {
            "n": 1,
            GRAPH_PARAM: graph,
            OUTPUTS_PARAM: list(checked.outputs),
            FILES_PARAM: keys,
            SENT_FILES_PARAM: resolved.sent,
            SECONDS_PARAM: seconds,
            GPU_SECOND_PARAM: rate,
            **request.options,
        }
        return PreparedRequest(
            request=GenerationRequest(
                model=OWN_GRAPH_ID,
                params={},
                origin=request.origin,
                idempotency_key=request.idempotency_key,
            ),
            model=model,
            params=params,
            files=inputs,
            captions=checked.texts,
            quote=self._quote(price_gpu_time(seconds, rate)),
        )

    async def _resolve_files(self, account_id: str, checked: CheckedGraph) -> ResolvedGraph:
        """Return the graph with positions in place of its files."""
        graph = {id: {**node, "inputs": dict(node["inputs"])} for id, node in checked.nodes.items()}
        inputs: dict[str, StoredInput] = {}
        sent: dict[str, Any] = {}
        problems = []
        for use in checked.files:
            found = await self._read_file(account_id, use, checked)
            if isinstance(found, NodeProblem):
                problems.append(found)
                continue
            key, stored = found
            inputs.setdefault(key, stored)
            graph[use.node]["inputs"][use.input] = {FILE_INDEX: list(inputs).index(key)}
            sent.setdefault(key, use.value)
        if problems:
            missing = [_reference(problem.value) for problem in problems if problem.type == "missing_asset"]
            error = GraphRejected(
                f"The graph is not run: {problems[0]}",
                error_type="prompt_outputs_failed_validation",
                problems=problems,
                code="missing_asset" if missing else None,
            )
            error.details["missing_ids"] = missing
            raise error
        return ResolvedGraph(graph, inputs, [sent[key] for key in inputs])

    async def _read_file(
        self, account_id: str, use: FileUse, checked: CheckedGraph
    ) -> NodeProblem | tuple[str, StoredInput]:
        """Return the key and the content of a file, or what is wrong with it."""

        def problem(type: str, message: str) -> NodeProblem:
            class_type = checked.nodes[use.node]["class_type"]
            text = f"`{use.input}` {message} (got {shown(_reference(use.value))!r})"
            return NodeProblem(
                node=use.node,
                class_type=class_type,
                type=type,
                message=text,
                input=use.input,
                value=use.value,
            )

        data = await self._find_content(account_id, _reference(use.value))
        if data is None:
            reason = (
                "names no file that this account has uploaded or made, or one that has expired: upload it"
            )
            return problem("missing_asset", reason)
        try:
            info = await asyncio.to_thread(probe_media, data)
        except CorruptMedia as error:
            return problem("custom_validation_failed", f"is no image, video or audio file: {error}")
        if not info.content_type.startswith(("image/", "video/", "audio/")):
            return problem(
                "custom_validation_failed", f"is no image, video or audio file: {info.content_type}"
            )
        if (info.width or 0) * (info.height or 0) > self.max_pixels:
            reason = (
                f"has {info.width}x{info.height} pixels; at most {self.max_pixels} are allowed: scale it down"
            )
            return problem("value_bigger_than_max", reason)
        return _to_input(data, info)

    async def _find_content(self, account_id: str, reference: str) -> bytes | None:
        file = await self.find_file(account_id, reference)
        if file is not None:
            return await self.files.read(file)
        output = await self.results.find(account_id, reference)
        return None if output is None else await self.objects.get(output.key)

    async def find_file(self, account_id: str, reference: str) -> GraphFile | None:
        """Return an uploaded file of the account by its id or name; ` [input]` after a name means nothing."""
        name = reference.removesuffix("[input]").strip()
        return await self.files.find(account_id, reference) or await self.files.find_by_name(account_id, name)

    async def _check_instances(self, model: OwnGraphModel) -> None:
        """Reject a graph whose weights or classes no instance has."""
        found = await self.instances.find_problems(model)
        if not found:
            return
        problems = [
            NodeProblem(
                node=problem.node,
                class_type=model.graph[problem.node]["class_type"],
                type=problem.code,
                message=f"`{problem.input}` {problem.message[:300]}; GET /object_info lists what there is",
                input=problem.input,
                value=model.graph[problem.node]["inputs"].get(problem.input),
            )
            for problem in found
            if problem.node in model.graph
        ]
        if problems:
            raise GraphRejected(
                f"The graph is not run: {problems[0]}",
                error_type="prompt_outputs_failed_validation",
                problems=problems,
            )

    def _seconds_to_hold(self, checked: CheckedGraph, wanted: float | None) -> float:
        """Return the longest run that is paid for: what the caller allows, or a multiple of an estimate."""
        if wanted is not None:
            if not 1 <= wanted <= self.max_seconds:
                raise invalid_field(
                    "max_seconds", f"must be between 1 and {self.max_seconds:g} (got {wanted:g})"
                )
            return wanted
        return min(self.max_seconds, max(MIN_SECONDS, math.ceil(HOLD_FACTOR * estimate_seconds(checked))))

    def _micros_per_second(self) -> int:
        try:
            return math.ceil(self.get_price_book().default_tariff.base_micros(OWN_GRAPH_ID))
        except ModelNotPriced as error:
            raise ServiceUnavailable(
                f"The price list has no price for `{OWN_GRAPH_ID}`; ask the operator to add one",
                code="model_unavailable",
                retry_after=60,
            ) from error

    def _quote(self, micros: int) -> Quote:
        tariff = self.get_price_book().default_tariff
        return Quote(
            micros=micros,
            minimum_applied=False,
            tariff_id=DEFAULT_TARIFF,
            effective=tariff.effective,
            units=micros / tariff.unit,
        )


def estimate_seconds(checked: CheckedGraph) -> float:
    """Return roughly how long a graph runs on the reference GPU: samplers, and the loading of weights."""
    seconds = 2.0 + 10.0 * len(checked.weights)
    size = max((_pixels(node["inputs"]) for node in checked.nodes.values()), default=1.0)
    for node in checked.nodes.values():
        steps = node["inputs"].get("steps")
        if isinstance(steps, int | float):
            seconds += 0.3 * steps * size
    return seconds


def _pixels(inputs: Mapping[str, Any]) -> float:
    """Return megapixels times frames times batch of a node's literal inputs."""
    product = 1.0
    for names, base in ((("width",), 1024), (("height",), 1024), (("length",), 8), (("batch_size",), 1)):
        value = next((inputs[name] for name in names if isinstance(inputs.get(name), int | float)), base)
        product *= max(1.0, float(value)) / base
    return max(product, 0.1)


def _reference(value: Any) -> str:
    """Return what names a file: the id of an asset, or the text."""
    if is_asset(value):
        return str(value["info"].get("id") or "")
    return str(value)


def _to_input(data: bytes, info: MediaInfo) -> tuple[str, StoredInput]:
    sha256 = hashlib.sha256(data).hexdigest()
    stored = StoredInput(data=data, content_type=info.content_type, sha256=sha256)
    return f"{sha256}.{info.ext}", stored
