"""The documentation of a running service: OpenAPI document, its page, llms.txt, and responses that match."""

from __future__ import annotations

import json
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import BaseModel
from standardwebhooks.webhooks import Webhook

from orchestrator.web.dialects.model_routes import ModelDetails, ModelList
from orchestrator.web.dialects.openai import schemas as answers
from orchestrator.web.dialects.pixel_factory.errors import ErrorResponse
from orchestrator.web.dialects.pixel_factory.schemas import QuoteResponse
from orchestrator.webhooks.sender import generate_signing_secret
from tests.support.images import png
from tests.support.node_project import run_node
from tests.support.programs import run_program
from tests.support.python_client import run_python
from tests.support.service import ServiceProcess, pixelfactory


@pytest.fixture(scope="module")
def document(service: ServiceProcess) -> dict[str, Any]:
    answer = httpx.get(f"{service.url}/openapi.json")
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    return dict(answer.json())


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": entry
        for path, entries in document["paths"].items()
        for method, entry in entries.items()
    }


def test_command_line_prints_the_same_document(document: dict[str, Any], tmp_path: Path) -> None:
    told = pixelfactory("openapi", data_dir=tmp_path / "data")
    assert json.loads(told.stdout) == document
    assert not (tmp_path / "data").exists()


def test_document_has_every_public_operation(document: dict[str, Any]) -> None:
    found = operations(document)
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


def test_operations_name_their_credentials(document: dict[str, Any]) -> None:
    found = operations(document)
    assert found["GET /v1/models"]["security"] == []
    assert found["POST /v1/videos"]["security"] == [{"key": []}]
    assert found["GET /admin/v1/instances"]["security"] == [{"admin": []}]
    gateway: list[dict[str, list[str]]] = [{"subscription": []}, {"secret": []}, {"key": []}]
    assert found["POST /generateT2I"]["security"] == gateway
    assert found["GET /v2/requests/status/{id}"]["security"] == gateway
    schemes = document["components"]["securitySchemes"]
    assert {scheme for each in gateway for scheme in each} <= schemes.keys()
    assert schemes["subscription"]["name"] == "Ocp-Apim-Subscription-Key"


def test_operations_name_their_headers_and_statuses(document: dict[str, Any]) -> None:
    found = operations(document)["POST /flux-dev/v1/dev/textToImage"]
    assert {"X-Webhook-URL", "Idempotency-Key"} <= {each["name"] for each in found["parameters"]}
    assert {"200", "202", "400", "401", "402", "429", "default"} <= found["responses"].keys()


def test_body_schemas_are_the_validating_models(document: dict[str, Any]) -> None:
    body = operations(document)["POST /v1/images/generations"]["requestBody"]["content"]
    assert set(body) == {"application/json", "multipart/form-data"}
    schema = document["components"]["schemas"]["ImageGenerationBody"]["properties"]
    assert {"prompt", "quality", "output_compression", "num_frames", "mask"} <= schema.keys()
    assert {"minimum": 0, "maximum": 3, "type": "integer"} in schema["partial_images"]["anyOf"]


def test_docs_page_loads_nothing_and_runs_no_scripts(
    service: ServiceProcess, document: dict[str, Any]
) -> None:
    page = httpx.get(f"{service.url}/docs/api")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for entry in operations(document).values():
        assert f'id="{entry["operationId"]}"' in page.text
    assert "<script" not in page.text
    assert not re.search(r"""(src|href)=["']?\w+://|url\(|@import""", page.text)


class SchemaCheckingClient:
    """An HTTP client that validates each response against the documented model."""

    def __init__(self, service: ServiceProcess, key: str) -> None:
        self.http = httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {key}"}, timeout=60)

    def ask(self, answer: type[BaseModel], method: str, path: str, **body: Any) -> dict[str, Any]:
        told = dict(self.http.request(method, path, **body).json())
        answer.model_validate(told, strict=True)
        return told


def test_responses_match_their_schemas(service: ServiceProcess) -> None:
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


def test_llms_txt_lets_an_agent_generate_poll_and_verify_webhooks(service: ServiceProcess) -> None:
    response = httpx.get(f"{service.url}/llms.txt")
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    text = response.text
    assert f"**Base URL:** `{service.url}`" in text
    for model in httpx.get(f"{service.url}/api/v1/images/models").json()["data"]:
        assert f"(`{model['id']}`)" in text
    for operation in ("/v1/images/generations", "/v1/videos/VIDEO_ID/content", "GET /api/v1/jobs/JOB_ID"):
        assert operation in text
    assert "| `model_not_found` |" in text
    assert "{base_url}" not in text


def test_llms_txt_verifies_webhook_signatures(service: ServiceProcess) -> None:
    text = httpx.get(f"{service.url}/llms.txt").text
    code = text.partition("```python\n")[2].partition("```")[0]
    names: dict[str, Any] = {}
    exec(code, names)
    secret, now, body = generate_signing_secret(), datetime.now(UTC), '{"type": "job.succeeded"}'
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": "v1,wrong " + Webhook(secret).sign("msg_1", now, body),
    }
    assert names["verify"](secret, headers, body.encode())
    assert not names["verify"](secret, headers, body.encode() + b" ")


def test_code_samples_run_as_they_are(
    service: ServiceProcess, document: dict[str, Any], tmp_path: Path
) -> None:
    operation = operations(document)["POST /v1/images/generations"]
    curl, python, javascript = (sample["source"] for sample in operation["x-codeSamples"])
    url, key = service.url, service.key("5.00")
    (tmp_path / "sample.sh").write_text(curl)
    outputs = [run_python(tmp_path, python, PIXELFACTORY_URL=url, PIXELFACTORY_KEY=key)]
    if shutil.which("curl") is not None:
        outputs.append(run_program(tmp_path, "sh", "sample.sh", PIXELFACTORY_URL=url, PIXELFACTORY_KEY=key))
    if shutil.which("node") is not None:
        outputs.append(run_node(tmp_path, javascript, PIXELFACTORY_URL=url, PIXELFACTORY_KEY=key))
    for output in outputs:
        (made,) = json.loads(output)["data"]
        assert made["b64_json"]


def test_every_code_sample_in_javascript_is_a_program(document: dict[str, Any], tmp_path: Path) -> None:
    if shutil.which("node") is None:
        pytest.skip("needs Node.js (Debian: apt install nodejs)")
    sources = [operation["x-codeSamples"][2]["source"] for operation in operations(document).values()]
    functions = [f"async () => {{\n{source}\n}}" for source in sources]
    (tmp_path / "samples.mjs").write_text(f"export default [\n{','.join(functions)}\n];\n")
    run_program(tmp_path, "node", "--check", "samples.mjs")


def test_unknown_paths_are_named_in_the_error(service: ServiceProcess) -> None:
    response = httpx.get(f"{service.url}/nope")
    assert response.status_code == 404
    assert response.json()["error"]["message"] == "Not found: GET /nope"
    assert response.json()["error"]["code"] == "unknown_url"


def test_wrong_methods_get_the_allowed_ones(service: ServiceProcess) -> None:
    response = httpx.patch(f"{service.url}/v1/models")
    assert response.status_code == 405
    assert response.json()["error"]["message"].endswith("is not allowed for /v1/models; use GET")


def test_allow_names_the_documented_methods_of_every_path(
    service: ServiceProcess, document: dict[str, Any]
) -> None:
    differing = {}
    with httpx.Client(base_url=service.url) as http:
        for path, entries in document["paths"].items():
            response = http.request("TRACE", re.sub(r"\{\w+\}", "1", path))
            allowed = response.headers.get("Allow", "").split(", ")
            if (response.status_code, sorted(allowed)) != (405, sorted(map(str.upper, entries))):
                differing[path] = (response.status_code, allowed)
    assert differing == {}
