"""Filters and order of the lists of ComfyUI's own API: the history, and the rows of jobs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from orchestrator.errors import invalid_field
from orchestrator.jobs import JobRecord
from orchestrator.web.dialects.comfy.native_views import STATUS_NAMES
from orchestrator.web.openapi.operation import ParameterSpec

_ORDERS = ("desc", "asc")
_SORT_FIELDS = ("created_at", "execution_duration")
_COUNT = {"type": "integer", "minimum": 0}
HISTORY_QUERY = {
    "max_items": ParameterSpec(_COUNT, "Most entries: the newest, unless `offset` is given; all by default."),
    "offset": ParameterSpec({"type": "integer"}, "How many of the oldest entries are left out."),
    "prompt_id": ParameterSpec({"type": "string"}, "The only graph to list."),
}
ROWS_QUERY = {
    "status": ParameterSpec(
        {"type": "string"}, f"Statuses, with commas: {', '.join(STATUS_NAMES.values())}."
    ),
    "workflow_id": ParameterSpec({"type": "string"}, "No graph here belongs to a stored workflow."),
    "sort_by": ParameterSpec({"type": "string", "enum": list(_SORT_FIELDS)}, "`created_at` by default."),
    "sort_order": ParameterSpec({"type": "string", "enum": list(_ORDERS)}, "`desc` by default."),
    "limit": ParameterSpec(_COUNT, "Most rows; 20 by default."),
    "offset": ParameterSpec(_COUNT, "Rows to leave out."),
}


def select_history(request: web.Request, newest_first: Sequence[JobRecord]) -> Sequence[JobRecord]:
    """Return the finished graphs that a request for the history asks for, as ComfyUI counts them.

    What is no number counts as not given, since clients send empty texts. A negative `offset` is none.
    """
    count = len(newest_first)
    most, offset = _number_or_none(request, "max_items"), _number_or_none(request, "offset")
    wanted = count if most is None else max(most, 1)
    if offset is None:
        return newest_first[:wanted]
    return newest_first[max(count - offset - wanted, 0) : max(count - offset, 0)]


@dataclass(frozen=True, slots=True)
class RowSelection:
    """Which rows of jobs are listed, and in which order."""

    statuses: frozenset[str]
    workflow_id: str | None
    sort_by: str
    is_ascending: bool

    @classmethod
    def of(cls, request: web.Request) -> RowSelection:
        """Read the filters of a request. Raises InvalidRequest."""
        statuses = frozenset(filter(None, request.query.get("status", "").split(",")))
        if unknown := statuses - set(STATUS_NAMES.values()):
            known = ", ".join(STATUS_NAMES.values())
            raise invalid_field("status", f"must be one or more of {known} (got {min(unknown)[:40]!r})")
        return cls(
            statuses=statuses,
            workflow_id=request.query.get("workflow_id"),
            sort_by=_choice(request, "sort_by", _SORT_FIELDS),
            is_ascending=_choice(request, "sort_order", _ORDERS) == "asc",
        )

    def __call__(self, newest_first: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the wanted rows in their order."""
        rows = [
            row
            for row in newest_first
            if (not self.statuses or row["status"] in self.statuses)
            and self.workflow_id in (None, row["workflow_id"])
        ]
        if self.sort_by == "execution_duration":
            return sorted(rows, key=_duration, reverse=not self.is_ascending)
        return rows[::-1] if self.is_ascending else rows


def parse_count(request: web.Request, name: str, default: int) -> int:
    """Return a number of rows. Raises InvalidRequest."""
    text = request.query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        raise invalid_field(name, f"must be a whole number from 0 to 99999 (got {text[:40]!r})")
    return int(text)


def _number_or_none(request: web.Request, name: str) -> int | None:
    text = request.query.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else None


def _choice(request: web.Request, name: str, allowed: Sequence[str]) -> str:
    """Return a chosen value in lower case, the first one by default. Raises InvalidRequest."""
    text = request.query.get(name, allowed[0])
    if text.lower() not in allowed:
        raise invalid_field(name, f"must be one of {', '.join(allowed)} (got {text[:40]!r})")
    return text.lower()


def _duration(row: dict[str, Any]) -> int:
    """Return the milliseconds that a job has run."""
    start, end = row["execution_start_time"], row["execution_end_time"]
    return 0 if start is None or end is None else end - start
