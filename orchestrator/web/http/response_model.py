"""Response bodies as pydantic models: a handler returns the model that the OpenAPI document describes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticSerializationError

#: A number that stays an integer in JSON where it has no fraction: `1`, not `1.0`.
JsonNumber = Annotated[int | float, WithJsonSchema({"type": "number"})]
#: A time that JSON shows as `2026-01-31T12:00:00+00:00`.
IsoDatetime = Annotated[datetime, PlainSerializer(datetime.isoformat, return_type=str)]


class ResponseModel(BaseModel):
    """Base class of all response bodies. Later versions may add fields, so clients must tolerate them."""

    # A schema is built where it is first used: few of the hundreds are, and all take 0.4 s.
    model_config = ConfigDict(extra="allow", serialize_by_alias=True, validate_by_name=True, defer_build=True)


def json_response(
    body: BaseModel, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Return `body` as a JSON response, without the fields that were never set."""
    return web.Response(
        text=to_json(body),
        status=status,
        content_type="application/json",
        headers=headers,
    )


def to_json(body: BaseModel) -> str:
    """Return `body` as JSON, without the fields that were never set."""
    try:
        return body.model_dump_json(exclude_unset=True)
    except PydanticSerializationError:
        # A response repeats a text of the request that no UTF-8 has, such as a lone surrogate: escape it.
        return json.dumps(body.model_dump(exclude_unset=True), default=str)


def to_json_dict(body: BaseModel) -> dict[str, Any]:
    """Return `body` as the JSON object that `json_response` would send."""
    return body.model_dump(mode="json", exclude_unset=True)
