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

AnyHandler = TypeVar("AnyHandler", bound=Callable[..., Any])
Query = Mapping[str, "Value"]

#: Where a handler keeps its description.
_ATTRIBUTE = "operation"


class Access(StrEnum):
    """What a caller has to show."""

    NONE = "none"  #: nothing
    KEY = "key"  #: an API key
    GATEWAY = "gateway"  #: an API key, perhaps in a header of Pixazo's gateway
    ADMIN = "admin"  #: the operators' token


@dataclass(frozen=True, slots=True)
class Value:
    """One value of a query string or a header: its JSON Schema, and a sentence."""

    schema: Mapping[str, Any]
    description: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """One method at one address, or at several."""

    #: Fields of the request; they come as a JSON object.
    body: type[BaseModel] | None = None
    #: The fields may come as a form with files, too.
    form: bool = False
    #: Values of the query string by name; none is required.
    query: Query = field(default_factory=dict)
    #: Headers of its own; none is required.
    headers: Query = field(default_factory=dict)
    #: What is answered where all is well: JSON after this model, or whatever `media` says.
    answer: type[BaseModel] | None = None
    status: int = 200
    #: Content types of the answer.
    media: tuple[str, ...] = ("application/json",)
    #: It makes a job: an idempotency key is heeded, and the answer names the job.
    job: bool = False
    #: None: as the address tells (`/admin/...` is for operators, all else for keys).
    access: Access | None = None
    #: Name of its group; None: as the address tells.
    tag: str | None = None
    #: Further answers: a sentence by status.
    also: Mapping[int, str] = field(default_factory=dict)


def describes(**said: Any) -> Callable[[AnyHandler], AnyHandler]:
    """Puts an Operation, made of these fields, on a handler."""
    operation = Operation(**said)

    def put(handler: AnyHandler) -> AnyHandler:
        setattr(handler, _ATTRIBUTE, operation)
        return handler

    return put


def operation_of(handler: Callable[..., Any]) -> Operation:
    """What was said of a handler; nothing in particular where nothing was."""
    operation = getattr(handler, _ATTRIBUTE, None)
    return operation if isinstance(operation, Operation) else Operation()


#: Query values that many lists take.
LIMIT = Value({"type": "integer", "minimum": 1, "maximum": 100, "default": 20}, "Items on a page.")
CURSOR = Value({"type": "string"}, "Where the last page ended.")
