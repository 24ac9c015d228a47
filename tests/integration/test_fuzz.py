"""Requests made up from the OpenAPI document, for every operation and every kind of caller.

Whatever is sent, with whatever key: no 5xx, no status, content type or body that the document does not have,
and nothing for a caller who may not ask.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.integration.conftest import PATIENT
from tests.support.service import ServiceProcess, running

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
#: Multiplies the number of requests; `FUZZ_FACTOR=20` takes some minutes.
FACTOR = int(os.environ.get("FUZZ_FACTOR", "1"))
#: Requests that follow the document and that break it, to each operation that serves the caller.
VALID, BROKEN = FACTOR, FACTOR
#: Requests to each operation that refuses the caller whatever is sent.
REFUSED = 1
ROLES = ("caller", "billing", "operator", "nobody")
#: Beginnings of the paths that need the admin token.
OPERATOR_PATHS = ("/admin/", "/metrics")
#: Parts of the paths that a key with the scope `billing` alone may use.
BILLING_PATHS = ("/billing/", "/webhooks/", "/account/balance")
#: Replicate's: whose key it is.
ACCOUNT_PATH = "/v1/account"


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A service of its own: operators may drain its fleet and revoke its keys."""
    environment = PATIENT | {"PIXELFACTORY_PUBLIC_METRICS": "false"}
    with running(ServiceProcess(tmp_path_factory.mktemp("fuzzed"), environment=environment)) as started:
        yield started


@pytest.fixture(scope="module")
def secrets(fuzzed: ServiceProcess) -> dict[str, str | None]:
    """What each role authenticates with."""
    made = fuzzed.run("keys", "create", "--credit", "100")
    billing = fuzzed.run("keys", "create", "--account", made["account"], "--scope", "billing")
    return {
        "caller": made["key"],
        "billing": billing["key"],
        "operator": fuzzed.admin_token,
        "nobody": None,
    }


@pytest.fixture(scope="module")
def operations(fuzzed: ServiceProcess) -> list[Any]:
    """Every operation of the document."""
    schema: Any = schemathesis.openapi.from_url(f"{fuzzed.url}/openapi.json")
    return [found.ok() for found in schema.get_all_operations()]


@pytest.mark.timeout(600)  # thousands of requests
@pytest.mark.slow
@pytest.mark.parametrize("role", ROLES)
def test_every_operation_keeps_to_the_document(
    fuzzed: ServiceProcess, secrets: dict[str, str | None], operations: list[Any], role: str
) -> None:
    secret = secrets[role]
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    assert len(operations) > 60
    broken = []
    for operation in operations:
        if is_served(operation, role):
            broken.append(find_problem(operation, headers, GenerationMode.POSITIVE, VALID))
            broken.append(find_problem(operation, headers, GenerationMode.NEGATIVE, BROKEN))
        else:
            broken.append(find_problem(operation, headers, GenerationMode.POSITIVE, REFUSED, refused=True))
    assert [problem for problem in broken if problem] == []


def is_served(operation: Any, role: str) -> bool:
    """Return whether the operation may answer this role with anything but a refusal."""
    security = operation.definition.raw.get("security")
    if security == [] or {} in security:
        return True
    if operation.path.startswith(OPERATOR_PATHS):
        return role == "operator"
    return role == "caller" or (role == "billing" and is_for_billing(operation.path))


def is_for_billing(path: str) -> bool:
    """Return whether a key of the scope `billing` may use the path."""
    return path == ACCOUNT_PATH or any(part in path for part in BILLING_PATHS)


def find_problem(
    operation: Any, headers: dict[str, str], mode: GenerationMode, count: int, *, refused: bool = False
) -> str | None:
    """Return what an operation does wrong in answer to `count` requests, if anything."""

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        response = case.call_and_validate(headers=headers, checks=CHECKS, timeout=30)
        assert not refused or response.status_code >= 400, response.status_code

    try:
        ask()
    except FailureGroup as failures:
        return f"{operation.method} {operation.path}: {failures}"
    except AssertionError as error:
        return f"{operation.method} {operation.path}: serves a caller that it must refuse: {error}"
    except Unsatisfiable:
        return None  # nothing about the operation can be wrong
    return None
