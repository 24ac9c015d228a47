"""The OpenAPI document describes every operation completely; the tables of errors name every code."""

from __future__ import annotations

import ast
import asyncio
import json
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from orchestrator.app.openapi_app import build_openapi_app
from orchestrator.jobs import FailureKind
from orchestrator.settings import Settings
from orchestrator.web.openapi.docs_pages import render_docs_page
from orchestrator.web.openapi.document import build_openapi_document
from orchestrator.web.openapi.error_codes import ERROR_CODES, is_documented
from tests.support.service import ROOT

SUMMARY_VERBS = frozenset(
    [
        "Audit",
        "Calculate",
        "Cancel",
        "Change",
        "Check",
        "Create",
        "Load",
        "Credit",
        "Debit",
        "Delete",
        "Download",
        "Drain",
        "Edit",
        "Export",
        "Fill",
        "Follow",
        "Generate",
        "Get",
        "Grant",
        "List",
        "Receive",
        "Refund",
        "Repeat",
        "Reject",
        "Remix",
        "Restart",
        "Restore",
        "Resume",
        "Revoke",
        "Rotate",
        "Run",
        "Send",
        "Set",
        "Stream",
        "Submit",
        "Train",
        "Upscale",
    ]
)
Operation = dict[str, Any]


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    settings = Settings(data_dir=tmp_path_factory.mktemp("data"))

    async def build() -> dict[str, Any]:
        async with build_openapi_app(settings) as app:
            return build_openapi_document(app)

    return asyncio.run(build())


def operations(document: dict[str, Any]) -> Iterator[tuple[str, Operation]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def contents(operation: Operation) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield status (or `body`) and content of request and responses."""
    for content_type, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"body {content_type}", content
    for status, response in operation["responses"].items():
        for content_type, content in response.get("content", {}).items():
            yield f"{status} {content_type}", content


def undescribed_properties(document: dict[str, Any]) -> Iterator[str]:
    for name, schema in document["components"]["schemas"].items():
        for field, property_schema in schema.get("properties", {}).items():
            if not property_schema.get("description"):
                yield f"{name}.{field}"


def absolute_refs(schema: Any) -> Any:
    """Return the schema with references that the registry of `example_errors` resolves."""
    if isinstance(schema, dict):
        return {
            key: f"urn:document{value}" if key == "$ref" else absolute_refs(value)
            for key, value in schema.items()
        }
    return [absolute_refs(item) for item in schema] if isinstance(schema, list) else schema


def example_errors(document: dict[str, Any], content: dict[str, Any]) -> list[str]:
    resource = Resource.from_contents(document, default_specification=DRAFT202012)
    registry = Registry().with_resource("urn:document", resource)
    validator = OAS31Validator(absolute_refs(content["schema"]), registry=registry)
    return [error.message for error in validator.iter_errors(content["example"])]


@pytest.mark.exhaustive
def test_document_is_valid(document: dict[str, Any]) -> None:
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []
    assert document["openapi"].startswith("3.1")


def test_every_summary_starts_with_a_verb(document: dict[str, Any]) -> None:
    summaries = {name: operation["summary"] for name, operation in operations(document)}
    assert {
        name: text for name, text in summaries.items() if text.split()[0].rstrip(",") not in SUMMARY_VERBS
    } == {}
    assert {name: text for name, text in summaries.items() if text.endswith(".")} == {}


def test_every_operation_parameter_and_status_has_a_description(document: dict[str, Any]) -> None:
    lacking = []
    for name, operation in operations(document):
        described = [operation, *operation.get("parameters", ()), *operation["responses"].values()]
        lacking += [name for part in described if not part.get("description")]
    assert lacking == []


def test_schemas_have_names_of_their_own(document: dict[str, Any]) -> None:
    """Two classes of the same name would be told apart by their modules, which callers would read."""
    assert [name for name in document["components"]["schemas"] if "__" in name] == []


def test_every_content_has_a_schema(document: dict[str, Any]) -> None:
    assert [
        (name, place)
        for name, operation in operations(document)
        for place, content in contents(operation)
        if not content["schema"]
    ] == []


def test_streams_document_one_event(document: dict[str, Any]) -> None:
    events = [
        (operation["operationId"], content["schema"].get("title"))
        for _, operation in operations(document)
        for place, content in contents(operation)
        if place.endswith("text/event-stream")
    ]
    assert len(events) >= 6
    assert [name for name, title in events if title != "ServerSentEvent"] == []


def test_every_property_has_a_description(document: dict[str, Any]) -> None:
    assert list(undescribed_properties(document)) == []


def test_every_json_content_has_an_example_that_fits_its_schema(document: dict[str, Any]) -> None:
    wrong = {
        f"{name} {place}": example_errors(document, content) if "example" in content else "no example"
        for name, operation in operations(document)
        for place, content in contents(operation)
        if place.endswith("json")
    }
    assert {place: errors for place, errors in wrong.items() if errors} == {}


def test_operations_with_a_credential_document_authentication_errors(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        if operation["security"]:
            assert "401" in operation["responses"], name
        assert "default" in operation["responses"], name


def test_responses_without_content_have_none(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        assert "content" not in operation["responses"].get("204", {}), name


def test_webhooks_have_examples_and_signature_headers(document: dict[str, Any]) -> None:
    assert set(document["webhooks"]) == {"jobFinished", "budgetAlert"}
    for webhook in document["webhooks"].values():
        message = webhook["post"]
        assert example_errors(document, message["requestBody"]["content"]["application/json"]) == []
        headers = {parameter["name"] for parameter in message["parameters"]}
        assert headers == {"webhook-id", "webhook-timestamp", "webhook-signature"}


def test_docs_page_shows_every_operation_and_error_code(document: dict[str, Any]) -> None:
    page = render_docs_page(document)
    assert [name for name, one in operations(document) if f'id="{one["operationId"]}"' not in page] == []
    assert [code for code in ERROR_CODES if f"<code>{code}</code>" not in page] == []


def test_every_operation_has_code_of_its_own(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        curl, python, javascript = operation["x-codeSamples"]
        ast.parse(python["source"])
        method, path = name.split(" ", 1)
        fixed = path.partition("{")[0]
        assert f"requests.{method.lower()}(" in python["source"], name
        assert all(f"PIXELFACTORY_URL{end}{fixed}" in sample["source"] for sample, end in (
            (curl, ""), (javascript, "}"),
        )), name  # fmt: skip
        words = shlex.split(curl["source"].replace("\\\n", " "))
        if "--json" in words:
            example = operation["requestBody"]["content"]["application/json"]["example"]
            assert json.loads(words[words.index("--json") + 1]) == example


def test_code_samples_send_the_credential_of_their_operation(document: dict[str, Any]) -> None:
    sent = {
        "get /v1/models": "",
        "post /v1/images/generations": "Authorization: Bearer $PIXELFACTORY_KEY",
        "post /flux-dev/v1/dev/textToImage": "Ocp-Apim-Subscription-Key: $PIXELFACTORY_KEY",
        "get /admin/v1/instances": "Authorization: Bearer $PIXELFACTORY_ADMIN_TOKEN",
    }
    for name, header in sent.items():
        method, path = name.split()
        source = document["paths"][path][method]["x-codeSamples"][0]["source"]
        assert (header in source) if header else ("-H" not in source), name


def raised_error_codes() -> Iterator[str]:
    """Yield every literal `code=...` argument, `default_code`, and code of a payment error in the product."""
    for package in ("orchestrator", "pricing"):
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                yield from codes_of_node(node)


def codes_of_node(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Call):
        values = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
        if isinstance(node.func, ast.Name) and node.func.id == "PaymentError":
            values.append(node.args[0])
        for value in values:
            literals = [part for part in ast.walk(value) if isinstance(part, ast.Constant)]
            yield from (part.value for part in literals if isinstance(part.value, str))
    if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if any(isinstance(target, ast.Name) and target.id == "default_code" for target in targets):
            yield str(node.value.value)


@pytest.mark.exhaustive
def test_every_raised_error_code_is_documented() -> None:
    codes = {*raised_error_codes(), *(kind.value for kind in FailureKind)}
    assert "idempotency_conflict" in codes
    assert {code for code in codes if not is_documented(code)} == set()
