"""The `responses` of an operation: its success, and every error that it can return, with true statuses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from orchestrator.errors import (
    Conflict,
    Forbidden,
    Gone,
    InsufficientBalance,
    InvalidRequest,
    NotAuthenticated,
    NotFound,
    RateLimited,
    RequestTimeout,
    ServiceError,
    ServiceUnavailable,
    UnsupportedMediaType,
)
from orchestrator.web.dialects.error_responses import find_error_format
from orchestrator.web.openapi.documented_routes import DocumentedRoute
from orchestrator.web.openapi.examples import ExampleGenerator
from orchestrator.web.openapi.operation import Access
from orchestrator.web.query_parameters import is_query_checked

SchemaRefs = Mapping[type[BaseModel], dict[str, Any]]

#: Statuses of responses without a body.
STATUSES_WITHOUT_BODY = frozenset({204, 302, 304})
JOB_RESPONSE_HEADERS = {
    "X-PixelFactory-Job": {"schema": {"type": "string"}, "description": "Id of the job."},
    "X-PixelFactory-Simulated": {
        "schema": {"const": "true"},
        "description": "Present if a simulator made the result, without a GPU.",
    },
}
#: Of streams, OpenAPI before 3.2 documents one event.
EVENT_SCHEMA = {
    "type": "object",
    "title": "ServerSentEvent",
    "description": "One of the server-sent events that the response consists of.",
    "required": ["data"],
    "properties": {
        "event": {"type": "string", "description": "Its type; `message` if the stream does not state one."},
        "data": {"type": "string", "description": "Usually a JSON object, as text."},
        "id": {"type": "string", "description": "What `Last-Event-ID` repeats after a disconnection."},
        "retry": {"type": "integer", "description": "Milliseconds to wait before connecting again."},
    },
}
#: Path segments of resources that expire.
EXPIRING_RESOURCES = ("/jobs/{", "/videos/{", "/image/{", "/status/{", "/predictions/{", "/requests/{")


class ResponseBuilder:
    """Builds the responses of operations from the schemas of their models."""

    def __init__(self, schema_refs: SchemaRefs, examples: ExampleGenerator) -> None:
        self._schema_refs = schema_refs
        self._examples = examples

    def build_responses(self, route: DocumentedRoute) -> dict[str, Any]:
        """Return all responses of an operation by status."""
        spec = route.spec
        responses = {
            **self._error_responses(route),
            **{str(status): {"description": text} for status, text in spec.other_responses.items()},
            str(spec.status): self._success_response(route),
        }
        return {status: responses[status] for status in sorted(responses)} | {
            "default": {
                "description": "Any other error. `X-Should-Retry` and `Retry-After` state whether and when a "
                "repetition may succeed.",
                "content": self._error_content(route, ServiceError("Internal server error")),
            }
        }

    def _success_response(self, route: DocumentedRoute) -> dict[str, Any]:
        spec = route.spec
        response: dict[str, Any] = {"description": _describe_success(route)}
        if spec.status not in STATUSES_WITHOUT_BODY:
            response["content"] = {
                content_type: self._success_content(route, content_type)
                for content_type in spec.content_types
            }
        if spec.creates_job:
            response["headers"] = JOB_RESPONSE_HEADERS
        return response

    def _success_content(self, route: DocumentedRoute, content_type: str) -> dict[str, Any]:
        spec = route.spec
        if content_type == "text/event-stream":
            return {"schema": EVENT_SCHEMA}
        if spec.response is None or "json" not in content_type:
            binary = not content_type.startswith("text/")
            return {"schema": {"type": "string"} | ({"format": "binary"} if binary else {})}
        schema = self._schema_refs[spec.response]
        return {"schema": schema, "example": spec.response_example or self._examples.response_example(schema)}

    def _error_responses(self, route: DocumentedRoute) -> dict[str, Any]:
        """Return the errors by the status that they have in the dialect."""
        error_format, descriptions = find_error_format(route.path), dict[int, list[str]]()
        samples: dict[int, ServiceError] = {}
        for error in _possible_errors(route):
            status, _ = error_format.to_error_response(error)
            descriptions.setdefault(status, []).append(error.message)
            samples.setdefault(status, error)
        return {
            str(status): {
                "description": " ".join(texts),
                "content": self._error_content(route, samples[status]),
            }
            for status, texts in descriptions.items()
        }

    def _error_content(self, route: DocumentedRoute, error: ServiceError) -> dict[str, Any]:
        error_format = find_error_format(route.path)
        _, body = error_format.to_error_response(error)
        example = body.model_dump(mode="json", exclude_unset=True)
        return {"application/json": {"schema": self._schema_refs[error_format.schema], "example": example}}


def _describe_success(route: DocumentedRoute) -> str:
    spec = route.spec
    if spec.response_description:
        return spec.response_description
    if spec.status in STATUSES_WITHOUT_BODY:
        return "Success. The response has no body."
    documentation = (spec.response and spec.response.__doc__) or ""
    return " ".join(documentation.partition("\n\n")[0].split()) or "The requested content."


def _possible_errors(route: DocumentedRoute) -> Iterator[ServiceError]:
    """Yield an example of each error that the operation can return; its message describes the status."""
    spec = route.spec
    takes_fields = spec.body or spec.query or spec.headers or spec.creates_job
    if takes_fields or is_query_checked(route.method, route.path, spec):
        yield InvalidRequest("A field or parameter of the request is invalid; `param` names it.")
    if spec.body or spec.accepts_form:
        yield RequestTimeout("The body of the request did not arrive in time.")
        yield UnsupportedMediaType(
            "The `Content-Encoding` of the body is not accepted; `Accept-Encoding` lists those that are.",
            code="unsupported_encoding",
        )
    if route.access is Access.ADMIN:
        yield NotAuthenticated("The admin token is missing or wrong.", code="invalid_admin_token")
    elif route.access is not Access.NONE:
        yield NotAuthenticated("The API key is missing, unknown, revoked or expired.")
        yield Forbidden("The API key lacks the scope that the operation needs, or may not use the model.")
    if spec.creates_job:
        yield InsufficientBalance(
            "The balance, or the spend cap of the API key, does not cover the price.",
            details={"balance_usd": 0.001, "held_usd": 0.0, "available_usd": 0.001, "required_usd": 0.003},
        )
        yield Conflict("The `Idempotency-Key` was used before for a different request.")
        yield ServiceUnavailable(
            "No instance can run the job soon enough; retry after `Retry-After` seconds."
        )
    if route.path_params:
        yield NotFound("The resource does not exist, or belongs to another account.")
    if any(segment in route.path for segment in EXPIRING_RESOURCES):
        yield Gone("The job has expired and its files are deleted.")
    if route.access is not Access.NONE:
        yield RateLimited("The rate limit is exceeded; retry after `Retry-After` seconds.")
