"""What a node's function gets to know and do beside its inputs, and what it may answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image as Pictures

from comfy_instances.simulator.execution.device import SimulatedDevice
from comfy_instances.simulator.options import InstanceFolders

#: `report_progress(value, total, picture, image_type)`: where a node is; `picture` may be None.
ReportProgress = Callable[[float, float, Pictures.Image | None, str], None]
#: Inputs by keyword, perhaps after a Call -> outputs, or Shown.
NodeFunction = Callable[..., Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeContext:
    """One node of one prompt at work."""

    node_id: str
    class_type: str
    #: What the node facts say about its class.
    node_facts: Mapping[str, Any]
    #: The whole graph; savers write it into their files.
    prompt: Mapping[str, Any]
    #: Further metadata that the caller wants in the files, for example its workflow.
    extra_pnginfo: Mapping[str, Any]
    folders: InstanceFolders
    device: SimulatedDevice
    #: Whether samplers are to show unfinished work.
    previews_enabled: bool
    report_progress: ReportProgress
    #: Shows a line of text at the node.
    send_text: Callable[[str], None]

    def update_progress(
        self, value: float, total: float, preview: Pictures.Image | None = None, image_type: str = "JPEG"
    ) -> None:
        """Tell the client, then give an interrupt its chance. Raises ProcessingInterrupted."""
        self.device.simulate_work(0)
        self.report_progress(value, total, preview, image_type)


@dataclass(frozen=True, slots=True)
class NodeResult:
    """The outputs of a node that also has something to show."""

    #: `images`, `text`, ... -> list of items; empty for nothing.
    ui: Mapping[str, Sequence[Any]]
    outputs: Sequence[Any] = field(default=())
