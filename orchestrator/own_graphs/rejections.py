"""What is wrong with a caller's graph, in ComfyUI's own shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.errors import InvalidRequest

#: Characters of a caller's value in an error.
MAX_SHOWN = 100
#: Errors that one response lists.
MAX_LISTED = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeProblem:
    """One problem of one node."""

    node: str
    class_type: str
    #: ComfyUI's error type where it has one, else `forbidden_class`, `forbidden_value`, ....
    type: str
    #: What is wrong, what is allowed, and the way out.
    message: str
    #: Empty for a problem of the whole node.
    input: str = ""
    value: Any = None
    further: Mapping[str, Any] = field(default_factory=dict)

    def to_error(self) -> dict[str, Any]:
        """Return the entry of `node_errors[ID].errors`."""
        info: dict[str, Any] = dict(self.further)
        if self.input:
            info |= {"input_name": self.input, "received_value": shown(self.value)}
        details = f"node {self.node} ({self.class_type})" + (f", {self.input}" if self.input else "")
        return {"type": self.type, "message": self.message, "details": details, "extra_info": info}

    def __str__(self) -> str:
        place = f"node {self.node} ({self.class_type})" + (f", input `{self.input}`" if self.input else "")
        return f"{place}: {self.message}"


class GraphRejected(InvalidRequest):
    """A graph that the service does not run. `error_type` and `node_errors` are ComfyUI's."""

    default_code = "invalid_workflow"

    def __init__(
        self,
        message: str,
        *,
        error_type: str,
        problems: Sequence[NodeProblem] = (),
        outputs_by_node: Mapping[str, Sequence[str]] | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message, code=code, param="prompt")
        self.error_type = error_type
        self.problems = tuple(problems)
        self.node_errors = to_node_errors(problems, outputs_by_node or {})
        self.details = {"node_errors": self.node_errors}


def to_node_errors(
    problems: Sequence[NodeProblem], outputs_by_node: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """Return problems as ComfyUI's `node_errors`, the first ones of many."""
    errors: dict[str, Any] = {}
    for problem in problems[:MAX_LISTED]:
        entry = errors.setdefault(
            problem.node,
            {
                "errors": [],
                "dependent_outputs": list(outputs_by_node.get(problem.node, ())),
                "class_type": problem.class_type,
            },
        )
        entry["errors"].append(problem.to_error())
    return errors


def shown(value: Any) -> Any:
    """Return a caller's value for an error: itself if it is short, else its beginning."""
    if value is None or isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 2**63):
        return value
    text = value if isinstance(value, str) else repr(value)[: MAX_SHOWN + 1]
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
