"""Read the workflow in a file: JSON in its many wrappings, or the metadata of a picture, video or sound."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.catalog.import_export.embedded_metadata import MAX_TEXT_BYTES, read_embedded_texts
from orchestrator.catalog.import_export.example_picture import make_example_picture
from orchestrator.catalog.import_export.infotext import parse_infotext, propose_graph
from orchestrator.catalog.import_export.ui.ui_graph import InvalidWorkflow, is_ui_format
from orchestrator.catalog.rendering.graph import check_nesting_depth

#: Maximum bytes of JSON; the largest published workflows are below 2 MB.
MAX_JSON_BYTES = MAX_TEXT_BYTES

#: Maximum number of objects, lists and texts that are searched for a graph, and levels of JSON in JSON.
_MAX_SEARCHED = 10_000
_MAX_WRAPPINGS = 8
#: Keys that hold a graph in the files of tools, the likeliest first.
_WRAPPER_KEYS = ("workflow", "prompt", "workflow_api", "output", "input", "graph", "extra_data")
#: Metadata in which ComfyUI writes its graphs.
_GRAPH_TEXTS = ("workflow", "prompt")
#: Metadata for other purposes: VideoHelperSuite's older versions wrote all graphs into a comment.
_FURTHER_TEXTS = ("comment", "description", "parameters")
_NO_GRAPH = (
    "must be a ComfyUI workflow in UI or API format, alone or inside an object such as"
    ' {"workflow": ...} or {"prompt": ...}'
)


@dataclass(frozen=True, slots=True)
class WorkflowFile:
    """The graphs of a file."""

    #: In UI format if the file has one, as that contains more information; else in API format.
    graph: dict[str, Any]
    #: The graph in API format that the file has beside the one in UI format.
    prompt: dict[str, Any] | None = None
    #: A small picture of the file, as a `data:` URL; empty if it shows nothing.
    picture: str = ""
    #: What the author should review, if the graph is not the author's own.
    notes: tuple[str, ...] = ()


def read_workflow(data: bytes) -> dict[str, Any]:
    """Return the graph of a file, as `read_workflow_file` does. Raises InvalidWorkflow."""
    return read_workflow_file(data).graph


def read_workflow_file(data: bytes) -> WorkflowFile:
    """Return the graphs of a JSON, PNG, WebP, JPEG, MP4, WebM, FLAC, MP3, Ogg, GLB or SVG file.

    For an image with A1111's parameters the graph is proposed. Raises InvalidWorkflow.
    """
    texts = read_embedded_texts(data)
    if texts is None:
        return find_graphs(_parse_json(data))
    found: dict[str, str] = {}
    for name, text in texts:
        if name in (*_GRAPH_TEXTS, *_FURTHER_TEXTS) and text:
            found.setdefault(name, text)
    graphs = [_parse_json(found[name]) for name in _GRAPH_TEXTS if name in found]
    graphs = graphs or _find_in_further_texts(found)
    if graphs:
        return replace(find_graphs(graphs), picture=make_example_picture(data))
    info = parse_infotext(found.get("parameters", ""))
    if info is None:
        raise InvalidWorkflow(
            "the file contains no embedded workflow; export it from ComfyUI as JSON, or drop the file on"
            " ComfyUI's page and save what it shows"
        )
    graph, notes = propose_graph(info)
    return WorkflowFile(graph, notes=tuple(notes), picture=make_example_picture(data))


def _find_in_further_texts(texts: Mapping[str, str]) -> list[Any]:
    """Return the JSON data of the first text for other purposes that has a graph; nothing if none has."""
    for name in _FURTHER_TEXTS:
        data = list(_iter_wrapped(texts.get(name, "")))
        if any(is_ui_format(item) or is_api_format(item) for item in data):
            return data
    return []


def find_graphs(data: Any) -> WorkflowFile:
    """Return the graphs in JSON data, which may be wrapped in other objects and texts.

    Raises InvalidWorkflow.
    """
    ui = api = None
    for item in _iter_wrapped(data):
        if ui is None and is_ui_format(item):
            ui = item
        elif api is None and is_api_format(item):
            api = item
    graph = api if ui is None else ui
    if graph is None:
        raise InvalidWorkflow(_NO_GRAPH)
    return WorkflowFile(graph, None if ui is None else api)


def _iter_wrapped(data: Any) -> Iterator[Any]:
    """Yield the data and what it wraps, outermost first; graphs themselves are not searched."""
    level = [data]
    searched = 0
    for _ in range(_MAX_WRAPPINGS):
        inner: list[Any] = []
        for item in level:
            searched += 1
            if searched > _MAX_SEARCHED:
                return
            yield item
            if isinstance(item, dict) and not is_ui_format(item) and not is_api_format(item):
                inner.extend(item[key] for key in _WRAPPER_KEYS if key in item)
                inner.extend(value for key, value in item.items() if key not in _WRAPPER_KEYS)
            elif isinstance(item, list):
                inner.extend(item)
            elif isinstance(item, str) and item.lstrip()[:1] in ("{", "[", '"'):
                inner.extend(_parse_text(item))
        level = inner


def _parse_text(text: str) -> list[Any]:
    """Return the JSON data of a text in JSON; nothing if it is none."""
    try:
        return [_parse_json(text)]
    except InvalidWorkflow:
        return []


def is_api_format(data: Any) -> bool:
    """Return whether JSON data is a graph in API format."""
    return (
        isinstance(data, dict)
        and bool(data)
        and all(isinstance(node, dict) and "class_type" in node for node in data.values())
    )


def _parse_json(text: bytes | str) -> Any:
    if len(text) > MAX_JSON_BYTES:
        raise InvalidWorkflow(f"the JSON is larger than {MAX_JSON_BYTES} bytes")
    try:
        data = json.loads(text, object_pairs_hook=_refuse_two_nodes)
        check_nesting_depth(data)
        return data
    except (ValueError, RecursionError) as error:
        raise InvalidWorkflow(f"not valid JSON: {error}") from error


def _refuse_two_nodes(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object. Raises InvalidWorkflow if it has two nodes of one id."""
    result = dict(pairs)
    if len(result) == len(pairs):
        return result
    seen: dict[str, Any] = {}
    for id, value in pairs:
        first = seen.setdefault(id, value)
        classes = [each.get("class_type") for each in (first, value) if isinstance(each, dict)]
        if first != value and len(classes) == 2 and all(isinstance(each, str) for each in classes):
            raise InvalidWorkflow(
                f"two nodes have the id {id}: {classes[0]} and {classes[1]}. ComfyUI would run the second one"
                " only; delete one, or give it an id that no other node has"
            )
    return result
