"""The body of a `POST /prompt` response that rejects a graph, as a BadGraph error. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from comfy_instances.protocol.errors import BadGraph


def parse_graph_rejection(body: str) -> BadGraph:
    """Return the error for the body of a 4xx response to a graph."""
    try:
        rejection = json.loads(body)
        error, node_errors = rejection["error"], rejection.get("node_errors") or {}
        error_type, message = str(error["type"]), str(error["message"])
        findings = "; ".join(format_node_errors(node_errors)) or str(error.get("details") or "")
    except (ValueError, KeyError, TypeError, AttributeError):
        return BadGraph("the instance rejects the graph and gives no reason")
    text = f"{message}: {findings}" if findings else message
    return BadGraph(text, error_type=error_type, node_errors=node_errors)


def format_node_errors(node_errors: Mapping[str, Any]) -> list[str]:
    """Return one line per error. The server's `details` are left out: some contain paths of its disk."""
    return [
        f"node {node_id} ({row.get('class_type')}): {finding.get('type')}"
        f" {(finding.get('extra_info') or {}).get('input_name', '')}".rstrip()
        for node_id, row in node_errors.items()
        for finding in row.get("errors", ())
    ]
