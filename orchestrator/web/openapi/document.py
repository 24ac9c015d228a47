"""Build the OpenAPI 3.1 document from the application's routes.

A new operation needs nothing here: decorate its handler with `@openapi_operation(...)` of `operation`. The
pydantic models that validate the request and build the response are also its schemas, and a path with
alternatives (`{verb:drain|resume}`) becomes one operation for each. The format of errors is that of the
dialect to which the path belongs (`dialects.error_responses`).
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from aiohttp import web
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from orchestrator.web.dialects.error_responses import find_error_format
from orchestrator.web.openapi.code_samples import build_code_samples
from orchestrator.web.openapi.documented_routes import DocumentedRoute, list_documented_routes
from orchestrator.web.openapi.error_codes import ERROR_CODES
from orchestrator.web.openapi.examples import ExampleGenerator
from orchestrator.web.openapi.operation import Access, ParameterSpec, get_summary_and_description
from orchestrator.web.openapi.responses import ResponseBuilder, SchemaRefs
from orchestrator.web.openapi.webhooks import WEBHOOK_MODELS, build_webhooks

API_DESCRIPTION = """Image and video generation with ComfyUI models behind several API dialects: OpenAI's \
images \
and videos APIs, the Pixel Factory API, PixelAPI, PixelDojo and Pixazo. All dialects share models, accounts, \
balances and jobs; each has its own tag, paths and error format.

Authenticate with `Authorization: Bearer pk-...`. Sizes are WIDTHxHEIGHT in pixels; money is in US \
dollars or \
cents. Send an `Idempotency-Key` with requests that create jobs: a repetition then returns the same job. \
Responses carry `X-Request-Id`, and `X-RateLimit-Limit`, `-Remaining` and `-Reset`."""

TAG_DESCRIPTIONS: Mapping[str, str] = {
    "images": "Generate and edit images; the response holds the result (OpenAI's images API).",
    "videos": "Generate videos: create, poll, download, remix (OpenAI's videos API).",
    "models": "List the models with their parameters and prices.",
    "loras": "LoRAs that your account has trained, and those that the operator shares.",
    "jobs": "List, poll, follow and cancel the jobs of your account, whatever dialect created them.",
    "quote": "Get the price of a generation without running it.",
    "billing": "Balance, ledger, statements, usage and budget alerts of your account.",
    "webhooks": "Webhook deliveries and the secret that signs them.",
    "pixelapi": "The PixelAPI dialect.",
    "comfy": "Callers' own graphs: Comfy API v2, ComfyUI's own API, and Comfy Router.",
    "pixeldojo": "The PixelDojo dialect.",
    "pixazo": "The Pixazo dialect.",
    "a1111": "The API of AUTOMATIC1111's web UI.",
    "huggingface": "HuggingFace's text-to-image task.",
    "fal": "fal's API: apps, the queue, uploads.",
    "replicate": "Replicate's predictions API, and its files and models.",
    "payments": "Called by the payment provider.",
    "service": "Health, metrics and documentation for language models.",
    "admin": "For operators: accounts, API keys, wallets, models, instances.",
}
#: Tags in the order in which they are listed; others follow, `admin` is last.
LEADING_TAGS = ("images", "videos", "models", "loras", "jobs", "quote", "billing", "webhooks")

SECURITY_BY_ACCESS: Mapping[Access, list[dict[str, list[str]]]] = {
    Access.NONE: [],
    Access.KEY: [{"key": []}],
    Access.GATEWAY: [{"subscription": []}, {"secret": []}, {"key": []}],
    Access.FAL: [{"key": []}, {"falKey": []}],
    Access.BASIC: [{"basic": []}, {"key": []}],
    Access.ADMIN: [{"admin": []}],
    Access.AUTHOR: [{"admin": []}, {"key": []}],
}
IDEMPOTENCY_KEY_PARAM = ParameterSpec(
    {"type": "string", "minLength": 1, "maxLength": 255},
    "Unique key of the request, for example a UUID. A repetition with the same key and the same body returns "
    "the job that the first request created, and is not charged again.",
)
_SCHEMA_REF_TEMPLATE = "#/components/schemas/{model}"


def _api_key_header_scheme(name: str) -> dict[str, str]:
    return {"type": "apiKey", "in": "header", "name": name, "description": "An API key, `pk-...`."}


SECURITY_SCHEMES = {
    "key": {"type": "http", "scheme": "bearer", "description": "An API key, `pk-...`."},
    "subscription": _api_key_header_scheme("Ocp-Apim-Subscription-Key"),
    "secret": _api_key_header_scheme("X-Secret-Key"),
    "falKey": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "An API key as `Key pk-...`.",
    },
    "basic": {
        "type": "http",
        "scheme": "basic",
        "description": "An API key, `pk-...`, as the password; any user name.",
    },
    "admin": {"type": "http", "scheme": "bearer", "description": "The operator's admin token."},
}


def build_openapi_document(app: web.Application) -> dict[str, Any]:
    """Return the whole document."""
    routes = list_documented_routes(app)
    schema_refs, schemas = _build_schemas(routes)
    operations = _OperationBuilder(schema_refs, ExampleGenerator(schemas))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = operations.build_operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Pixel Factory",
            "version": version("pixel-factory"),
            "description": API_DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": _build_tags({route.tag for route in routes}),
        "paths": paths,
        "webhooks": build_webhooks(schema_refs, ExampleGenerator(schemas)),
        "components": {"schemas": schemas, "securitySchemes": SECURITY_SCHEMES},
        "x-error-codes": dict(ERROR_CODES),
    }


class _OperationBuilder:
    """Builds Operation Objects."""

    def __init__(self, schema_refs: SchemaRefs, examples: ExampleGenerator) -> None:
        self._schema_refs = schema_refs
        self._examples = examples
        self._responses = ResponseBuilder(schema_refs, examples)

    def build_operation(self, route: DocumentedRoute) -> dict[str, Any]:
        summary, description = get_summary_and_description(route.handler)
        operation: dict[str, Any] = {
            "operationId": route.operation_id,
            "tags": [route.tag],
            "summary": summary,
            "description": description,
            "security": SECURITY_BY_ACCESS[route.access],
            "responses": self._responses.build_responses(route),
        }
        parameters = _build_parameters(route)
        if parameters:
            operation["parameters"] = parameters
        body = None
        if route.spec.body:
            content = self._request_content(route, route.spec.body)
            operation["requestBody"] = {"required": True, "content": content}
            body = content["application/json"]["example"]
        operation["x-codeSamples"] = build_code_samples(route, body)
        return operation

    def _request_content(self, route: DocumentedRoute, body: type[BaseModel]) -> dict[str, Any]:
        schema = self._schema_refs[body]
        example = route.spec.request_example or self._examples.request_example(schema)
        content: dict[str, Any] = {"application/json": {"schema": schema, "example": example}}
        if route.spec.accepts_form:
            content["multipart/form-data"] = {"schema": schema}
        return content


def _build_parameters(route: DocumentedRoute) -> list[dict[str, Any]]:
    text = {"type": "string"}
    spec = route.spec
    parameters = [
        _build_parameter(name, "path", ParameterSpec(text, description)) | {"required": True}
        for name, description in route.path_params.items()
    ]
    parameters += [_build_parameter(name, "query", param) for name, param in spec.query.items()]
    parameters += [_build_parameter(name, "header", param) for name, param in spec.headers.items()]
    if spec.creates_job:
        parameters.append(_build_parameter("Idempotency-Key", "header", IDEMPOTENCY_KEY_PARAM))
    return parameters


def _build_parameter(name: str, location: str, spec: ParameterSpec) -> dict[str, Any]:
    built = {"name": name, "in": location, "schema": dict(spec.schema), "description": spec.description}
    if location == "query" and spec.schema.get("type") == "object":
        # Each entry is a parameter of its own: `metadata[client]=acme`.
        return built | {"style": "deepObject", "explode": True}
    return built


def _build_tags(names: set[str]) -> list[dict[str, str]]:
    return [
        {"name": name, "description": TAG_DESCRIPTIONS.get(name, f"The {name} endpoints.")}
        for name in sorted(names, key=_tag_sort_key)
    ]


def _tag_sort_key(tag: str) -> tuple[bool, int, str]:
    position = LEADING_TAGS.index(tag) if tag in LEADING_TAGS else len(LEADING_TAGS)
    return tag == "admin", position, tag


def _build_schemas(routes: list[DocumentedRoute]) -> tuple[SchemaRefs, dict[str, dict[str, Any]]]:
    """Return a reference to the schema of each model, and all schemas by name."""
    models: set[type[BaseModel]] = set(WEBHOOK_MODELS)
    for route in routes:
        used = (route.spec.body, route.spec.response, find_error_format(route.path).schema)
        models |= {model for model in used if model is not None}
    ordered = sorted(models, key=lambda model: model.__name__)
    refs, definitions = models_json_schema(
        [(model, "validation") for model in ordered], ref_template=_SCHEMA_REF_TEMPLATE
    )
    return {model: dict(refs[model, "validation"]) for model in ordered}, definitions["$defs"]
