"""The output check of the node pack. In the simulator, only the fault `refuse` makes it reject an output."""

from __future__ import annotations

from collections.abc import Mapping

from comfy_instances.simulator.nodes.call import NodeFunction
from comfy_instances.simulator.nodes.values import ImageArray


class ContentRefused(Exception):
    """The output check rejected an output."""


def check_output(images: ImageArray, classifier: str, labels: str, threshold: float) -> tuple[ImageArray]:
    return (images,)


NODES: Mapping[str, NodeFunction] = {"PixelFactoryOutputCheck": check_output}
