"""The lists of ComfyUI's own API are filtered and ordered as ComfyUI does it."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request

from orchestrator.errors import InvalidRequest
from orchestrator.web.dialects.comfy.native_lists import RowSelection, select_history

#: Newest first: number 5 was added last.
NEWEST_FIRST: Any = [5, 4, 3, 2, 1]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", [5, 4, 3, 2, 1]),
        ("max_items=2", [5, 4]),
        ("max_items=2&offset=-1", [5, 4]),
        ("max_items=2&offset=0", [2, 1]),
        ("max_items=2&offset=2", [4, 3]),
        ("max_items=2&offset=4", [5]),
        ("max_items=2&offset=9", []),
        ("offset=3", [5, 4]),
        ("max_items=many", [5, 4, 3, 2, 1]),
        ("max_items=99999", [5, 4, 3, 2, 1]),
    ],
)
def test_the_history_counts_from_the_oldest(query: str, expected: list[int]) -> None:
    selected: Any = select_history(make_mocked_request("GET", f"/history?{query}"), NEWEST_FIRST)
    assert selected == expected


def row(id: int, status: str, seconds: int | None) -> dict[str, Any]:
    end = None if seconds is None else 1000 + seconds
    start = None if seconds is None else 1000
    return {
        "id": id, "status": status, "workflow_id": None,
        "execution_start_time": start, "execution_end_time": end,
    }  # fmt: skip


ROWS = [row(3, "pending", None), row(2, "completed", 5), row(1, "failed", 9)]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", [3, 2, 1]),
        ("sort_order=asc", [1, 2, 3]),
        ("sort_by=execution_duration", [1, 2, 3]),
        ("sort_by=Execution_Duration&sort_order=ASC", [3, 2, 1]),
        ("status=completed,failed", [2, 1]),
        ("workflow_id=x", []),
    ],
)
def test_rows_of_jobs_are_sorted_and_filtered(query: str, expected: list[int]) -> None:
    select = RowSelection.of(make_mocked_request("GET", f"/api/jobs?{query}"))
    assert [each["id"] for each in select(ROWS)] == expected


@pytest.mark.parametrize(
    ("query", "param"),
    [("sort_by=size", "sort_by"), ("sort_order=up", "sort_order"), ("status=ok", "status")],
)
def test_rejects_values_that_it_does_not_have(query: str, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        RowSelection.of(make_mocked_request("GET", f"/api/jobs?{query}"))
    assert (caught.value.param, caught.value.code) == (param, f"invalid_{param}")
