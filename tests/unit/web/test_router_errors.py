"""Comfy Router's error types: a run that has not succeeded has the same one as its status."""

from __future__ import annotations

import pytest

from orchestrator.errors import GenerationFailed, MethodNotAllowed
from orchestrator.web.dialects.comfy.errors import to_router_error_response


@pytest.mark.parametrize(
    ("code", "kind"),
    [("cancelled", "cancelled"), ("expired", "queue_timeout"), ("out_of_memory", "provider_error")],
)
def test_a_result_that_does_not_exist_names_what_became_of_the_run(code: str, kind: str) -> None:
    _, body = to_router_error_response(GenerationFailed("It has not succeeded", code=code))
    assert body.error_type == kind


def test_a_method_that_a_path_does_not_have_is_the_callers_mistake() -> None:
    status, body = to_router_error_response(MethodNotAllowed("use POST"))
    assert (status, body.error_type) == (405, "invalid_input")
