"""Request bodies as pydantic models, and validation errors as InvalidRequest."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema

from orchestrator.errors import InvalidRequest, invalid_field, missing_field
from orchestrator.web.http.bodies import read_fields
from orchestrator.web.http.json_bodies import MAX_SMALL_BYTES
from orchestrator.web.http.number_fields import StrictNumbersModel
from orchestrator.web.http.validation_errors import describe_problem
from pricing.money import MAX_MICROS, MICROS_PER_DOLLAR


class RequestModel(StrictNumbersModel):
    """Base class of request bodies. Unknown fields are rejected."""

    model_config = ConfigDict(extra="forbid", frozen=True)


RequestModelT = TypeVar("RequestModelT", bound=RequestModel)

MAX_USD = MAX_MICROS // MICROS_PER_DOLLAR
_USD_TEXT_SCHEMA = {"type": "string", "pattern": r"^[0-9]{1,7}(\.[0-9]{1,6})?$"}
_USD_SCHEMA = {"anyOf": [{"type": "number", "minimum": 0, "maximum": MAX_USD}, _USD_TEXT_SCHEMA]}
_POSITIVE_USD_SCHEMA = {
    "anyOf": [{"type": "number", "exclusiveMinimum": 0, "maximum": MAX_USD}, _USD_TEXT_SCHEMA]
}
#: An amount in US dollars as a number, or as text in plain digits, with at most six decimals.
Usd = Annotated[Decimal, Field(ge=0, le=MAX_USD, decimal_places=6), WithJsonSchema(_USD_SCHEMA)]
PositiveUsd = Annotated[
    Decimal, Field(gt=0, le=MAX_USD, decimal_places=6), WithJsonSchema(_POSITIVE_USD_SCHEMA)
]
DisplayName = Annotated[str, Field(min_length=1, max_length=200)]


def usd_to_micros(usd: Decimal) -> int:
    """Convert dollars to micro-dollars. Exact, because `Usd` allows at most six decimals."""
    return int(usd * MICROS_PER_DOLLAR)


#: The validated body of a request, for those who record what was changed.
REQUEST_MODEL: web.RequestKey[BaseModel] = web.RequestKey("request_model", BaseModel)


async def read_request_model(
    request: web.Request,
    model: type[RequestModelT],
    max_bytes: int | None = None,
    max_json_bytes: int = MAX_SMALL_BYTES,
) -> RequestModelT:
    """Read and validate the request body. An empty body has no fields.

    `max_json_bytes` limits JSON without its long texts. Raises InvalidRequest (`missing_FIELD`,
    `invalid_FIELD`).
    """
    fields = await read_fields(request, max_bytes, max_json_bytes) if request.can_read_body else {}
    try:
        body = model.model_validate(fields)
    except ValidationError as error:
        raise first_validation_error(error) from error
    set_request_model(request, body)
    return body


def set_request_model(request: web.Request, body: BaseModel) -> None:
    """Keep the validated body with its request."""
    request[REQUEST_MODEL] = body


def first_validation_error(error: ValidationError) -> InvalidRequest:
    """Return the first problem that pydantic found, as an error of the request field."""
    errors = error.errors(include_url=False, include_context=False)
    first = errors[0]
    name = str(first["loc"][0]) if first["loc"] else "body"
    if first["type"] == "missing" and len(first["loc"]) == 1:
        return missing_field(name)
    if first["type"] == "extra_forbidden":
        return invalid_field(name, "is not a field of this request")
    return invalid_field(name, describe_problem(errors))
