"""Check the values of a caller's node: files, paths, numbers, texts and links."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.catalog.checks.node_facts import NodeInput, declared_inputs
from orchestrator.catalog.pack_options import describe_option
from orchestrator.catalog.rendering.graph import ApiGraph
from orchestrator.own_graphs.limits import Bound, GraphLimits
from orchestrator.own_graphs.number_ranges import NumberRanges
from orchestrator.own_graphs.parsing import is_like_link
from orchestrator.own_graphs.rejections import NodeProblem, shown
from orchestrator.similar_names import find_similar

#: The key of an object that stands for an uploaded file, and its value.
ASSET_KEY, ASSET_TYPE = "__type", "core/ASSET"
#: Inputs with the prefix of a saver's file names.
PREFIX_INPUT = "filename_prefix"
#: Longest part of such a prefix; a saver appends a number and the extension, and file names have 255 bytes.
MAX_PREFIX_BYTES = 200
#: Lists that depend on the hardware of an instance.
_HARDWARE_LISTS = frozenset({"device"})
#: Longest list of options that an error shows whole.
_MAX_LISTED_OPTIONS = 8
#: Classes whose numbers say which part of their data to take, so that they enlarge nothing.
_SELECTS = frozenset({"ImageFromBatch", "LatentFromBatch", "LatentCut", "LatentCutToBatch", "ImageCompare"})
#: Types of inputs that hold the state of a widget, which the node's code does not read.
SHOWN_ONLY = frozenset({"IMAGECOMPARE"})
#: LoRAs that the service has put on an instance for a caller have names that begin so.
UPLOADED_PREFIX = "pixelfactory-"
_EMBEDDING = re.compile(r"embedding:([^\s,()]+)", re.IGNORECASE)
#: What an expression of `ComfyMathExpression` may hold: nothing that grows without bound.
_EXPRESSION = re.compile(r"(?:(?!\*\*|pow|<<)[\w\s.,+\-*/%()<>=!&|?:])*", re.ASCII)
_MAX_EXPRESSION = 200
_FILE_LIST_NAME = re.compile(r"(?!sampler_|scheduler_).*_name\d?", re.ASCII)
_UNSAFE_NAME = re.compile(r"[\0\n\r]|^[/\\~]|^[A-Za-z]:|(^|[/\\])\.\.([/\\]|$)")


def is_unsafe_path(text: str) -> bool:
    """Return whether a name leads out of a folder, on any system."""
    return bool(_UNSAFE_NAME.search(text.strip()))


@dataclass(frozen=True, slots=True)
class FileUse:
    """An input that names a file of the caller: the text or the asset object that stands there."""

    node: str
    input: str
    value: Any


@dataclass(frozen=True, slots=True)
class NodeChecker:
    """Checks one node of a graph."""

    id: str
    graph: ApiGraph
    limits: GraphLimits
    ranges: NumberRanges

    @property
    def class_type(self) -> str:
        return str(self.graph[self.id]["class_type"])

    def check(self, inputs: Mapping[str, NodeInput]) -> Iterator[NodeProblem]:
        """Yield the problems of a node whose declared inputs are `inputs`; other values are not sent."""
        for name, value in self.graph[self.id]["inputs"].items():
            item = inputs.get(name)
            if item is None or is_file_input(item) or item.type in SHOWN_ONLY:
                continue
            if is_like_link(value):
                yield from self._check_link(name, value, item)
            else:
                yield from self._check_literal(name, value, item)

    def check_file(self, name: str, value: Any) -> Iterator[NodeProblem]:
        """Yield what is wrong with the value of an input for an uploaded file."""
        if is_like_link(value):
            reason = "must be the name of an uploaded file or an asset, not a link: the service resolves it"
            yield self._problem("forbidden_value", reason, name, value)
        elif is_asset(value):
            if not isinstance(value.get("info"), dict):
                yield self._problem("missing_asset", "is an asset without `info.id`", name, value)
        elif not isinstance(value, str) or not value.strip():
            reason = "must be the name of a file that you have uploaded, or an asset"
            yield self._problem("invalid_input_type", reason, name, value)
        elif is_unsafe_path(value):
            reason = "must be the name of an uploaded file, without absolute or parent paths: upload it first"
            yield self._problem("forbidden_value", reason, name, value)

    def _check_link(self, name: str, value: Any, item: NodeInput) -> Iterator[NodeProblem]:
        if is_literal_only(self.class_type, item):
            reason = "must be a value, not a link: the service checks it before the run"
            yield self._problem("forbidden_value", reason, name, value)
            return
        bound = self._find_bound(item)
        if bound is None or not _is_numeric(item):
            return
        found = self.ranges.of(value)
        if found is None:
            reason = (
                f"must be a number up to {bound.most}, or linked to nodes whose value is known before the"
                f" run: primitives, GetImageSize, switches and arithmetic of these ({bound.limit})"
            )
            yield self._problem("unbounded_value", reason, name, value)
            return
        yield from self._check_bound(name, found.high, bound)

    def _check_literal(self, name: str, value: Any, item: NodeInput) -> Iterator[NodeProblem]:
        if isinstance(value, dict | list):
            yield from self._check_nested(name, value)
            return
        if isinstance(value, str):
            yield from self._check_text(name, value, item)
        bound = self._find_bound(item)
        if bound is not None and _is_numeric(item):
            yield from self._check_bound(name, value, bound)
        if isinstance(value, float) and not math.isfinite(value):
            yield self._problem("invalid_input_type", "must be a finite number", name, value)

    def _check_nested(self, name: str, value: Any) -> Iterator[NodeProblem]:
        """Look for what names files within objects and lists, whatever their class makes of them."""
        waiting = [value]
        while waiting:
            inner = waiting.pop()
            if is_asset(inner):
                reason = "takes no file; use an asset only where a node loads one, such as LoadImage.image"
                yield self._problem("forbidden_value", reason, name, value)
            elif isinstance(inner, dict):
                waiting += inner.values()
            elif isinstance(inner, list):
                waiting += inner
            elif isinstance(inner, str) and (is_unsafe_path(inner) or len(inner) > self.limits.max_text):
                reason = "must not hold absolute or parent paths, nor texts longer than"
                yield self._problem("forbidden_value", f"{reason} {self.limits.max_text}", name, inner)

    def _check_text(self, name: str, value: str, item: NodeInput) -> Iterator[NodeProblem]:
        if len(value) > self.limits.max_text:
            reason = f"has {len(value)} characters; at most {self.limits.max_text} are allowed"
            yield self._problem("value_too_long", reason, name, value)
        if is_prefix(name):
            yield from self._check_prefix(name, value)
        elif item.choices is not None and (is_unsafe_path(value) or value.startswith(UPLOADED_PREFIX)):
            reason = "must be one of the names that /object_info lists, without absolute or parent paths"
            yield self._problem("forbidden_value", reason, name, value)
        is_expression = self.class_type == "ComfyMathExpression" and name == "expression"
        if is_expression and not (len(value) <= _MAX_EXPRESSION and _EXPRESSION.fullmatch(value)):
            reason = (
                f"must have at most {_MAX_EXPRESSION} characters, without powers (`**`, `pow`) and texts:"
                " compute such a value before you send the graph"
            )
            yield self._problem("forbidden_value", reason, name, value)
        for embedding in _EMBEDDING.findall(value):
            if is_unsafe_path(embedding):
                reason = "names an embedding by an absolute or parent path; use its name only"
                yield self._problem("forbidden_value", reason, name, value)

    def _check_prefix(self, name: str, value: str) -> Iterator[NodeProblem]:
        if is_unsafe_path(value):
            reason = "must be a prefix such as `ComfyUI` or `video/ComfyUI`, without absolute or parent paths"
            yield self._problem("forbidden_value", reason, name, value)
        if any(len(part.encode()) > MAX_PREFIX_BYTES for part in value.split("/")):
            reason = f"must have at most {MAX_PREFIX_BYTES} bytes between slashes: file systems take no more"
            yield self._problem("value_too_long", reason, name, value)

    def _find_bound(self, item: NodeInput) -> Bound | None:
        return find_bound(self.class_type, item.name, self.limits)

    def _check_bound(self, name: str, value: Any, bound: Bound) -> Iterator[NodeProblem]:
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        except (TypeError, ValueError):
            return  # reported with its type
        if not number <= bound.most:
            reason = f"must be at most {bound.most} ({bound.limit}); ask the operator for larger graphs"
            yield self._problem("value_bigger_than_max", reason, name, value)

    def _problem(self, type: str, message: str, name: str, value: Any) -> NodeProblem:
        text = f"`{name}` {message} (got {shown(value)!r})"
        return NodeProblem(
            node=self.id, class_type=self.class_type, type=type, message=text, input=name, value=value
        )


def find_bound(class_type: str, name: str, limits: GraphLimits) -> Bound | None:
    """Return the bound of a number of a class; None for one that costs nothing."""
    return None if class_type in _SELECTS else limits.find_bound(name)


def is_asset(value: Any) -> bool:
    """Return whether a value is an object that stands for an uploaded file."""
    return isinstance(value, dict) and value.get(ASSET_KEY) == ASSET_TYPE


def is_prefix(name: str) -> bool:
    """Return whether an input is the prefix of a saver's file names."""
    return name.rpartition(".")[2] == PREFIX_INPUT


def is_file_input(item: NodeInput) -> bool:
    """Return whether the value of an input is a file that a caller has uploaded."""
    return item.accepts_uploads


def is_literal_only(class_type: str, item: NodeInput) -> bool:
    """Return whether an input may not be linked: what decides on files must be known before the run."""
    if class_type == "CustomCombo":
        return False
    is_expression = class_type == "ComfyMathExpression" and item.name == "expression"
    return is_prefix(item.name) or is_file_input(item) or lists_files(item) or is_expression


def lists_files(item: NodeInput) -> bool:
    """Return whether the options of an input are files of a server, such as weights.

    Their list is empty in the recorded facts, except that some loaders have options of their own besides.
    """
    return item.choices is not None and (not item.choices or bool(_FILE_LIST_NAME.fullmatch(item.name)))


def may_be_an_option(item: NodeInput, value: Any) -> bool:
    """Return whether an instance may have an option that the recorded facts lack: a file, or a pack's."""
    if not isinstance(value, str):
        return False
    is_of_instance = lists_files(item) or item.name in _HARDWARE_LISTS
    return is_of_instance or bool(describe_option(value, item.choices or ()))


def describe_options(class_type: str, item: NodeInput, value: Any) -> str:
    """Return what an input with a list of options takes, for a value that is not in the list."""
    options = [str(choice) for choice in item.choices or ()]
    given = f"(got {shown(value)!r})"
    if len(options) <= _MAX_LISTED_OPTIONS:
        return f"must be one of {', '.join(options)} {given}"
    similar = find_similar(str(value)[:100], options)
    guess = f"did you mean {similar[0]!r}? " if similar else ""
    return f"must be one of its options {given}; {guess}GET /object_info/{class_type} lists them"


def weight_inputs(entry: Mapping[str, Any]) -> list[str]:
    """Return the inputs of a class that name weight files of the server."""
    return [item.name for item in declared_inputs(entry) if lists_files(item) and not item.accepts_uploads]


def _is_numeric(item: NodeInput) -> bool:
    return bool({"INT", "FLOAT"} & set(item.type.split(",")))
