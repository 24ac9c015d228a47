"""Requests made up from the OpenAPI document, for every operation: whatever comes, the answer is in order.

No 5xx, no status, content type or body that the document does not have.
"""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.service import ServiceProcess

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
#: Those that want no more of an operation than that it holds.
QUICK = settings(
    max_examples=10,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def operations(service: ServiceProcess) -> list[Any]:
    """Every operation of the document."""
    schema: Any = schemathesis.openapi.from_url(f"{service.url}/openapi.json")
    return [found.ok() for found in schema.get_all_operations()]


@pytest.mark.parametrize("who", ["caller", "operator", "nobody"])
def test_every_operation_holds(service: ServiceProcess, key: str, operations: list[Any], who: str) -> None:
    secret = {"caller": key, "operator": service.admin_token}.get(who)
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    wanted = [operation for operation in operations if _concerns(operation.path, who)]
    assert len(wanted) > 5
    broken = [problem for operation in wanted if (problem := _problem(operation, headers))]
    assert broken == []


def _concerns(path: str, who: str) -> bool:
    """Operators try their own addresses; but no fleet shall be drained under other tests."""
    if who == "operator":
        return path.startswith("/admin/") and "instances" not in path
    return not path.startswith("/admin/")


def _problem(operation: Any, headers: dict[str, str]) -> str | None:
    """What an operation does wrong, if anything."""

    @QUICK
    @given(case=operation.as_strategy())
    def ask(case: Any) -> None:
        case.call_and_validate(headers=headers, checks=CHECKS, timeout=30)

    try:
        ask()
    except FailureGroup as failures:
        return f"{operation.method} {operation.path}: {failures}"
    return None
