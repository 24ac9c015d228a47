"""Report finished files over the websocket and in `/history`."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from .state import PROTOCOL, Delivery, DeliveryFile

EVENT = "pixel_factory.delivery"
ENCODED_EVENT = "pixel_factory.encoded"


def new_row() -> dict[str, Any]:
    """Return the output of a node. All of its keys exist from the start: `/history` copies it at any time."""
    return {"delivery": PROTOCOL, "files": ()}


def report_to_client(delivery: Delivery, file: DeliveryFile) -> None:
    """Add the report to the node's output, and send it to the client that queued the prompt."""
    report = file.report()
    if file.row is not None:
        file.row["files"] = (*file.row["files"], report)
    server = import_module("server").PromptServer.instance
    if delivery.client_id is not None:
        server.send_sync(EVENT, {"prompt_id": delivery.prompt_id, **report}, delivery.client_id)


def announce_to_client(delivery: Delivery, snapshot: dict[str, Any]) -> None:
    """Send the state of a delivery to the client that queued the prompt: results wait for their requests."""
    server = import_module("server").PromptServer.instance
    if delivery.client_id is not None:
        server.send_sync(ENCODED_EVENT, {"prompt_id": delivery.prompt_id, **snapshot}, delivery.client_id)
