"""Paths of requests, as clients join them."""

from __future__ import annotations

import pytest

from orchestrator.web.server.request_targets import normalize_path


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/models", "/v1/models"),
        ("/v1/models/", "/v1/models"),
        ("/v1//models", "/v1/models"),
        ("//v1///models//", "/v1/models"),
        ("/", "/"),
        ("//", "/"),
        ("/v1/models/a%2F%2Fb", "/v1/models/a%2F%2Fb"),
    ],
)
def test_removes_slashes_that_change_nothing(path: str, expected: str) -> None:
    assert normalize_path(path) == expected
