"""Request bodies of the dialects: base class, validation, and the GenerationRequest made of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from pydantic import ConfigDict, Field, ValidationError

from orchestrator.catalog import Model
from orchestrator.errors import InvalidRequest, invalid_field
from orchestrator.intake.request_preparer import GenerationRequest
from orchestrator.web.http.number_fields import StrictNumbersModel

RequestBodyT = TypeVar("RequestBodyT", bound="RequestBody")


class RequestBody(StrictNumbersModel):
    """Fields of a request. Null means the same as not given; unknown fields are kept, since they may be
    parameters of the model.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    #: Fields that the dialect interprets itself, even if a model has a parameter of that name.
    control_fields: ClassVar[frozenset[str]] = frozenset()

    webhook_url: str | None = Field(None, description="URL that is called when the job is finished.")

    def to_generation_request(
        self, model: Model, params: Mapping[str, Any], idempotency_key: str | None
    ) -> GenerationRequest:
        """Return the request to run `model` with `params` at the default price list."""
        return GenerationRequest(
            model=model.id, params=params, idempotency_key=idempotency_key, webhook_url=self.webhook_url
        )


def parse_body(
    body_type: type[RequestBodyT], fields: Mapping[str, Any], *, form: bool = False
) -> RequestBodyT:
    """Validate the fields of a request. All values of a form are text, so numbers are parsed from it.

    Raises InvalidRequest (`invalid_FIELD`).
    """
    try:
        return body_type.model_validate(fields, strict=not form)
    except ValidationError as error:
        raise to_field_error(error) from error


def to_field_error(error: ValidationError) -> InvalidRequest:
    """Return the first problem that pydantic found, as an error of the request field."""
    first = error.errors(include_url=False, include_input=False)[0]
    name = str(first["loc"][0]) if first["loc"] else "body"
    return invalid_field(name, first["msg"].replace("Input should be", "must be"))
