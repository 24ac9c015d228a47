"""What an address takes and gives, said beside the handler that does it.

    @describes(body=VideoCreateBody, form=True, answer=Video, job=True)
    async def create(self, request: web.Request) -> web.Response:
        \"\"\"Accepts a video; it is made while nobody waits.\"\"\"

The first line of the handler's docstring is the operation's title, the rest its description. A handler
without a description is in the document all the same, with what its address tells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from pydantic import BaseModel

HandlerT = TypeVar("HandlerT", bound=Callable[..., Any])
ParameterSpecs = Mapping[str, "ParameterSpec"]

#: Where a handler keeps its description.
_SPEC_ATTRIBUTE = "operation"


class Access(StrEnum):
    """What a caller has to show."""

    NONE = "none"  #: nothing
    KEY = "key"  #: an API key
    GATEWAY = "gateway"  #: an API key, perhaps in a header of Pixazo's gateway
    ADMIN = "admin"  #: the operators' token


@dataclass(frozen=True, slots=True)
class ParameterSpec:
    """One value of a query string or a header: its JSON Schema, and a sentence."""

    schema: Mapping[str, Any]
    description: str


@dataclass(frozen=True, kw_only=True, slots=True)
class OperationSpec:
    """One method at one address, or at several."""

    #: Fields of the request; they come as a JSON object.
    body: type[BaseModel] | None = None
    #: The fields may come as a form with files, too.
    accepts_form: bool = False
    #: Values of the query string by name; none is required.
    query: ParameterSpecs = field(default_factory=dict)
    #: Headers of its own; none is required.
    headers: ParameterSpecs = field(default_factory=dict)
    #: What is answered where all is well: JSON after this model, or whatever `media` says.
    response: type[BaseModel] | None = None
    status: int = 200
    #: Content types of the answer.
    content_types: tuple[str, ...] = ("application/json",)
    #: It makes a job: an idempotency key is heeded, and the answer names the job.
    creates_job: bool = False
    #: None: as the address tells (`/admin/...` is for operators, all else for keys).
    access: Access | None = None
    #: Name of its group; None: as the address tells.
    tag: str | None = None
    #: Further answers: a sentence by status.
    other_responses: Mapping[int, str] = field(default_factory=dict)


def openapi_operation(**fields: Any) -> Callable[[HandlerT], HandlerT]:
    """Puts an Operation, made of these fields, on a handler."""
    operation = OperationSpec(**fields)

    def attach_spec(handler: HandlerT) -> HandlerT:
        setattr(handler, _SPEC_ATTRIBUTE, operation)
        return handler

    return attach_spec


def get_operation_spec(handler: Callable[..., Any]) -> OperationSpec:
    """What was said of a handler; nothing in particular where nothing was."""
    operation = getattr(handler, _SPEC_ATTRIBUTE, None)
    return operation if isinstance(operation, OperationSpec) else OperationSpec()


#: Query values that many lists take.
LIMIT_PARAM = ParameterSpec(
    {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}, "Items on a page."
)
CURSOR_PARAM = ParameterSpec({"type": "string"}, "Where the last page ended.")
