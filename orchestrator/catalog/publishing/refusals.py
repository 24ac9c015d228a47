"""Errors about models that cannot be published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.catalog.checks.graph_checks import GraphProblem
from orchestrator.errors import InvalidRequest


def incomplete(id: str, missing: Mapping[str, str]) -> InvalidRequest:
    """Return the error for a model about which too little is known."""
    fields = "; ".join(f"`{name}`: {what}" for name, what in missing.items())
    return InvalidRequest(
        f"Model {id} cannot be live before its manifest says {fields}",
        code="incomplete_manifest",
        param="manifest",
        details={"missing": dict(missing)},
    )


def unusable(id: str, problems: Sequence[GraphProblem]) -> InvalidRequest:
    """Return the error for a graph that no server would run."""
    wrong = [str(problem) for problem in problems if not problem.is_warning]
    shown = "; ".join(wrong[:5]) + (f"; and {len(wrong) - 5} more" if len(wrong) > 5 else "")
    return InvalidRequest(
        f"The graph of {id} cannot be published: {shown}",
        code="unusable_graph",
        param="prompt",
        details={"problems": wrong},
    )
