"""The `@openapi_operation` decorator: documents a handler next to its code.

    @openapi_operation(
        summary="Create a video generation job",
        description="Returns at once; poll `GET /v1/videos/{id}` until `status` is `completed`.",
        body=VideoCreateBody, accepts_form=True, response=VideoResource, creates_job=True,
    )
    async def create_video(self, request: web.Request) -> web.Response:

Without `summary` and `description`, the first line and the rest of the handler's docstring are used.
Statuses of
errors need no declaration: `document` derives them from the operation and the dialect's error format.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from inspect import getdoc
from typing import Any, TypeVar

from pydantic import BaseModel

HandlerT = TypeVar("HandlerT", bound=Callable[..., Any])
ParameterSpecs = Mapping[str, "ParameterSpec"]

#: Attribute of a handler that holds its OperationSpec.
_SPEC_ATTRIBUTE = "openapi_operation"


class Access(StrEnum):
    """The credential that an operation needs."""

    NONE = "none"  #: no credential
    KEY = "key"  #: an API key as bearer token
    GATEWAY = "gateway"  #: an API key as bearer token or in one of the headers of Pixazo's gateway
    FAL = "fal"  #: an API key as `Key` or as bearer token
    BASIC = "basic"  #: an API key as the password of HTTP Basic, or as bearer token
    ADMIN = "admin"  #: the admin token as bearer token
    AUTHOR = "author"  #: the admin token, or an API key with the scope `publish`


@dataclass(frozen=True, slots=True)
class ParameterSpec:
    """A query parameter or header: its JSON Schema and its description."""

    schema: Mapping[str, Any]
    description: str


@dataclass(frozen=True, kw_only=True, slots=True)
class OperationSpec:
    """Documentation of one operation."""

    #: What the operation does, starting with a verb; by default the docstring's first line.
    summary: str | None = None
    #: Details for callers; by default the rest of the docstring.
    description: str | None = None
    #: Model of the JSON request body.
    body: type[BaseModel] | None = None
    #: Request body to show; by default one is generated from `body`.
    request_example: Mapping[str, Any] | None = None
    #: Whether the body may also be sent as a multipart form with files.
    accepts_form: bool = False
    #: Query parameters by name; all are optional.
    query: ParameterSpecs = field(default_factory=dict)
    #: Request headers by name; all are optional.
    headers: ParameterSpecs = field(default_factory=dict)
    #: Model of the successful JSON response.
    response: type[BaseModel] | None = None
    #: What the successful response holds; by default the model's description.
    response_description: str | None = None
    #: Response body to show; by default one is generated from `response`.
    response_example: Mapping[str, Any] | None = None
    #: Status of the successful response.
    status: int = 200
    #: Content types of the successful response.
    content_types: tuple[str, ...] = ("application/json",)
    #: Whether it creates a job: it accepts an `Idempotency-Key` and names the job in a header.
    creates_job: bool = False
    #: Credential needed; by default the admin token under `/admin/`, elsewhere an API key.
    access: Access | None = None
    #: Group of the operation; by default derived from the path.
    tag: str | None = None
    #: Descriptions of further statuses.
    other_responses: Mapping[int, str] = field(default_factory=dict)


def openapi_operation(
    *,
    summary: str | None = None,
    description: str | None = None,
    body: type[BaseModel] | None = None,
    request_example: Mapping[str, Any] | None = None,
    accepts_form: bool = False,
    query: ParameterSpecs | None = None,
    headers: ParameterSpecs | None = None,
    response: type[BaseModel] | None = None,
    response_description: str | None = None,
    response_example: Mapping[str, Any] | None = None,
    status: int = 200,
    content_types: tuple[str, ...] = ("application/json",),
    creates_job: bool = False,
    access: Access | None = None,
    tag: str | None = None,
    other_responses: Mapping[int, str] | None = None,
) -> Callable[[HandlerT], HandlerT]:
    """Return a decorator that documents a handler. OperationSpec describes the arguments."""
    spec = OperationSpec(
        summary=summary,
        description=description,
        body=body,
        request_example=request_example,
        accepts_form=accepts_form,
        query=query or {},
        headers=headers or {},
        response=response,
        response_description=response_description,
        response_example=response_example,
        status=status,
        content_types=content_types,
        creates_job=creates_job,
        access=access,
        tag=tag,
        other_responses=other_responses or {},
    )

    def attach_spec(handler: HandlerT) -> HandlerT:
        setattr(handler, _SPEC_ATTRIBUTE, spec)
        return handler

    return attach_spec


def get_operation_spec(handler: Callable[..., Any]) -> OperationSpec:
    """Return the documentation of a handler; an empty one if the handler is not decorated."""
    spec = getattr(handler, _SPEC_ATTRIBUTE, None)
    return spec if isinstance(spec, OperationSpec) else OperationSpec()


def get_summary_and_description(handler: Callable[..., Any]) -> tuple[str, str]:
    """Return summary (without a full stop) and description of a handler."""
    spec = get_operation_spec(handler)
    first, _, rest = (getdoc(handler) or "").partition("\n\n")
    summary = spec.summary or " ".join(first.split())
    return summary.rstrip("."), spec.description or rest or f"{summary.rstrip('.')}."


#: Page size of a list.
LIMIT_PARAM = ParameterSpec(
    {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}, "Maximum number of items in the page."
)
#: Position in a list.
CURSOR_PARAM = ParameterSpec(
    {"type": "string"}, "Cursor of the next page, from the previous response. Omit it for the first page."
)
