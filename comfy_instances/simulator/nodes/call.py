"""The context that a node's function receives besides its inputs, and its result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image as PILImage

from comfy_instances.simulator.deliveries import Deliver
from comfy_instances.simulator.execution.device import SimulatedDevice
from comfy_instances.simulator.options import InstanceFolders

#: `report_progress(value, total, preview, image_type)` reports the progress of a node; `preview` may be None.
ReportProgress = Callable[[float, float, PILImage.Image | None, str], None]
#: Keyword inputs, optionally after a NodeContext -> outputs, or a NodeResult.
NodeFunction = Callable[..., Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeContext:
    """The running node, and how it reports progress."""

    node_id: str
    class_type: str
    #: The recorded facts about the node class.
    node_facts: Mapping[str, Any]
    #: The whole graph; save nodes write it into the metadata of their files.
    prompt: Mapping[str, Any]
    #: More metadata from the request for the files, such as the workflow.
    extra_pnginfo: Mapping[str, Any]
    folders: InstanceFolders
    device: SimulatedDevice
    #: Whether samplers send previews.
    previews_enabled: bool
    report_progress: ReportProgress
    #: Sends a line of text to show at the node.
    send_text: Callable[[str], None]
    #: The recorded facts about all node classes, and what our node pack hands results over to.
    all_facts: Mapping[str, Any] = field(default_factory=dict)
    deliver: Deliver | None = None

    def update_progress(
        self, value: float, total: float, preview: PILImage.Image | None = None, image_type: str = "JPEG"
    ) -> None:
        """Report progress to the client, then check for an interrupt. Raises ProcessingInterrupted."""
        self.device.simulate_work(0)
        self.report_progress(value, total, preview, image_type)


@dataclass(frozen=True, slots=True)
class NodeResult:
    """The outputs of a node that also has UI output."""

    #: `images`, `text`, ... -> list of items; empty if there is no UI output.
    ui: Mapping[str, Sequence[Any]]
    outputs: Sequence[Any] = field(default=())
