"""JSON bodies of our own API: pydantic models, and their errors in our words."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from orchestrator.errors import InvalidRequest
from orchestrator.web.http.bodies import read_fields
from pricing.money import MAX_MICROS, MICROS_PER_DOLLAR


class RequestModel(BaseModel):
    """A body with exactly these fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


RequestModelT = TypeVar("RequestModelT", bound=RequestModel)

#: Dollars as a number or text, with at most six decimals.
Usd = Annotated[Decimal, Field(ge=0, le=MAX_MICROS // MICROS_PER_DOLLAR, decimal_places=6)]
PositiveUsd = Annotated[Usd, Field(gt=0)]
DisplayName = Annotated[str, Field(min_length=1, max_length=200)]


def usd_to_micros(usd: Decimal) -> int:
    """Exactly: forms let no more than six decimals through."""
    return int(usd * MICROS_PER_DOLLAR)


async def read_request_model(request: web.Request, model: type[RequestModelT]) -> RequestModelT:
    """The body as `form`. Raises InvalidRequest (`missing_NAME`, `invalid_NAME`)."""
    fields = await read_fields(request) if request.can_read_body else {}
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        name = str(first["loc"][0]) if first["loc"] else "body"
        sort = "missing" if first["type"] == "missing" else "invalid"
        raise InvalidRequest(f"`{name}`: {first['msg']}", code=f"{sort}_{name}", param=name) from error
