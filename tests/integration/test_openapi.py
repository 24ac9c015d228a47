"""The OpenAPI document: valid, complete, the same from the command line, and true of the answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import BaseModel

from orchestrator.web.dialects.model_routes import ModelDetails, ModelList
from orchestrator.web.dialects.openai import schemas as answers
from orchestrator.web.dialects.pixel_factory.errors import ErrorResponse
from orchestrator.web.dialects.pixel_factory.schemas import QuoteResponse
from tests.support.images import png
from tests.support.service import ServiceProcess, pixelfactory


@pytest.fixture(scope="module")
def described(service: ServiceProcess) -> dict[str, Any]:
    answer = httpx.get(f"{service.url}/openapi.json")
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    return dict(answer.json())


def operations(described: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": entry
        for path, entries in described["paths"].items()
        for method, entry in entries.items()
    }


def test_it_is_valid(described: dict[str, Any]) -> None:
    assert [error.message for error in OpenAPIV31SpecValidator(described).iter_errors()] == []
    assert described["openapi"].startswith("3.1")


def test_the_command_line_prints_the_same(described: dict[str, Any], tmp_path: Path) -> None:
    told = pixelfactory("openapi", data_dir=tmp_path / "data")
    assert json.loads(told.stdout) == described
    assert not (tmp_path / "data").exists()


def test_it_knows_every_address_of_ours(described: dict[str, Any]) -> None:
    found = operations(described)
    for root in ("/v1", "/api/v1"):
        assert {
            f"POST {root}/images/generations",
            f"POST {root}/images/edits",
            f"POST {root}/images/variations",
            f"GET {root}/models",
            f"GET {root}/models/{{id}}",
            f"POST {root}/videos",
            f"GET {root}/videos",
            f"GET {root}/videos/{{id}}",
            f"DELETE {root}/videos/{{id}}",
            f"GET {root}/videos/{{id}}/content",
            f"POST {root}/videos/{{id}}/remix",
        } <= found.keys()
    assert {"GET /healthz", "GET /readyz", "POST /admin/v1/instances/{id}/drain"} <= found.keys()
    assert not [name for name in found if "dashboard" in name or name == "GET /"]


def test_who_may_ask_is_said(described: dict[str, Any]) -> None:
    found = operations(described)
    assert found["GET /v1/models"]["security"] == []
    assert found["POST /v1/videos"]["security"] == [{"key": []}]
    assert found["GET /admin/v1/instances"]["security"] == [{"admin": []}]
    gateway: list[dict[str, list[str]]] = [{"subscription": []}, {"secret": []}, {"key": []}]
    assert found["POST /generateT2I"]["security"] == gateway
    assert found["GET /v2/requests/status/{id}"]["security"] == gateway
    schemes = described["components"]["securitySchemes"]
    assert {scheme for each in gateway for scheme in each} <= schemes.keys()
    assert schemes["subscription"]["name"] == "Ocp-Apim-Subscription-Key"


def test_headers_of_an_address_are_said(described: dict[str, Any]) -> None:
    found = operations(described)["POST /flux-dev/v1/dev/textToImage"]
    assert {"X-Webhook-URL", "Idempotency-Key"} <= {each["name"] for each in found["parameters"]}
    assert set(found["responses"]) == {"202", "200", "default"}


def test_bodies_are_what_validates_them(described: dict[str, Any]) -> None:
    body = operations(described)["POST /v1/images/generations"]["requestBody"]["content"]
    assert set(body) == {"application/json", "multipart/form-data"}
    schema = described["components"]["schemas"]["ImageGenerationBody"]["properties"]
    assert {"prompt", "quality", "output_compression", "num_frames", "mask"} <= schema.keys()
    assert {"minimum": 0, "maximum": 3, "type": "integer"} in schema["partial_images"]["anyOf"]


def test_the_page_is_made_of_itself_alone(service: ServiceProcess, described: dict[str, Any]) -> None:
    page = httpx.get(f"{service.url}/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for entry in operations(described).values():
        assert f'id="{entry["operationId"]}"' in page.text
    assert "<script" not in page.text
    assert "://" not in page.text.replace(service.url, "")


class SchemaCheckingClient:
    """Asks, and holds the answer against what the document says of it."""

    def __init__(self, service: ServiceProcess, key: str) -> None:
        self.http = httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {key}"}, timeout=60)

    def ask(self, answer: type[BaseModel], method: str, path: str, **body: Any) -> dict[str, Any]:
        told = dict(self.http.request(method, path, **body).json())
        answer.model_validate(told, strict=True)
        return told


def test_answers_are_as_described(service: ServiceProcess) -> None:
    caller = SchemaCheckingClient(service, service.key("1.00"))
    small = {"prompt": "a cat", "size": "256x256"}
    with caller.http:
        caller.ask(ModelList, "GET", "/v1/models")
        caller.ask(ModelDetails, "GET", "/api/v1/models/flux-1-dev")
        caller.ask(QuoteResponse, "POST", "/api/v1/quote", json=small)
        caller.ask(answers.ImagesResponse, "POST", "/v1/images/generations", json=small)
        caller.ask(answers.ImagesResponse, "POST", "/v1/images/edits", data=small, files={"image": png()})
        caller.ask(ErrorResponse, "POST", "/v1/images/generations", json={})
        film = {**small, "num_frames": 5}
        video = caller.ask(answers.VideoResource, "POST", "/v1/videos", json=film)
        caller.ask(answers.VideoResource, "GET", f"/v1/videos/{video['id']}")
        caller.ask(answers.VideoList, "GET", "/v1/videos")
        caller.ask(answers.DeletedVideoResource, "DELETE", f"/v1/videos/{video['id']}")
        caller.ask(ErrorResponse, "GET", f"/v1/videos/{video['id']}")


def test_an_answer_without_content_has_none(described: dict[str, Any]) -> None:
    for entry in operations(described).values():
        assert "content" not in entry["responses"].get("204", {})
