"""The names under which callers know the results of their graphs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from comfy_instances.protocol.outputs import SUFFIXES_3D
from orchestrator.jobs import JobRecord, Output
from orchestrator.own_graphs.model import GRAPH_PARAM, OUTPUTS_PARAM
from orchestrator.own_graphs.values import is_prefix

#: Output keys by the kind of file; videos are listed as images, as are OpenEXR files.
_KEYS = {"audio": "audio", "text": "text", "model": "3d", "image": "images", "video": "images"}
_KEYS_BY_SUFFIX = {"latent": "latents", "exr": "images", **dict.fromkeys(SUFFIXES_3D, "3d")}
_UNSAFE = re.compile(r"[^\w.-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class NamedOutput:
    """A result with the name under which its caller knows it."""

    output: Output
    index: int
    node: str
    name: str
    #: Whether its node saves files: a text is one, too, then.
    is_file: bool

    @property
    def key(self) -> str:
        """The output key under which ComfyUI lists such a result."""
        family = self.output.content_type.partition("/")[0]
        return _KEYS.get(family) or _KEYS_BY_SUFFIX.get(self.name.rpartition(".")[2], "files")


def name_outputs(record: JobRecord) -> list[NamedOutput]:
    """Return the results of a job with names such as `ComfyUI_00001_.png`, unique within the job."""
    return list(_name_outputs(record))


def _name_outputs(record: JobRecord) -> Iterator[NamedOutput]:
    graph: Mapping[str, Any] = record.job.params.get(GRAPH_PARAM, {})
    counts: dict[str, int] = {}
    for index, output in enumerate(record.outputs):
        node = output.node or next(iter(record.job.params.get(OUTPUTS_PARAM, [])), "")
        inputs = graph.get(node, {}).get("inputs", {})
        stem, is_file = _stem(inputs), any(map(is_prefix, inputs))
        counts[stem] = counts.get(stem, 0) + 1
        extension = output.key.rpartition(".")[2]
        yield NamedOutput(output, index, node, f"{stem}_{counts[stem]:05d}_.{extension}", is_file)


def _stem(inputs: Mapping[str, Any]) -> str:
    prefix = next((value for name, value in inputs.items() if is_prefix(name)), "ComfyUI")
    last = str(prefix).replace("\\", "/").rpartition("/")[2]
    return _UNSAFE.sub("_", last).strip("._")[:80] or "ComfyUI"
