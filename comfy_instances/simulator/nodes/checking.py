"""The output check of our node pack: only the fault `refuse` makes it object to what is simulated."""

from __future__ import annotations

from collections.abc import Mapping

from comfy_instances.simulator.nodes.call import NodeFunction
from comfy_instances.simulator.nodes.values import ImageArray


class ContentRefused(Exception):
    """What was made must not be handed out."""


def check_output(images: ImageArray, classifier: str, labels: str, threshold: float) -> tuple[ImageArray]:
    return (images,)


NODES: Mapping[str, NodeFunction] = {"PixelFactoryOutputCheck": check_output}
