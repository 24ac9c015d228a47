"""Responses repeat texts of requests, whatever these hold."""

from __future__ import annotations

import json
from typing import Any

from orchestrator.web.http.response_model import ResponseModel, json_response


class Echo(ResponseModel):
    parameters: dict[str, Any]
    note: str | None = None


def test_a_lone_surrogate_is_escaped() -> None:
    sent = {"sampler_name": "\ud800", "\udc00": ["a", "\ud83e"]}
    text = json_response(Echo(parameters=sent)).text
    assert text is not None
    assert text.isascii()
    assert json.loads(text) == {"parameters": sent}
