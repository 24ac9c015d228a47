"""Error bodies of Pixazo's gateway."""

from __future__ import annotations

from http import HTTPStatus

from pydantic import Field

from orchestrator.errors import Gone, InsufficientBalance, InvalidRequest, ServiceError
from orchestrator.web.http.response_model import ResponseModel
from pricing.money import MICROS_PER_DOLLAR, format_usd

#: Titles that differ from the standard phrase of the status.
ERROR_TITLES = {402: "Insufficient Balance"}


class PixazoErrorResponse(ResponseModel):
    """Body of every response with a status of 400 or more."""

    error: str = Field(
        description="Title of the error, for example `Unauthorized`; for an invalid field, the explanation.",
        examples=["Model not found"],
    )
    message: str | None = Field(
        None,
        description="Explanation for a person; absent for an invalid field.",
        examples=["Model 'flux-pro' not found or is disabled"],
    )


def to_error_response(error: ServiceError) -> tuple[int, PixazoErrorResponse]:
    """Return status and body of an error.

    The document knows no 410 (expired requests are not found) and no status above 500.
    """
    message = error.message.replace("`", "")
    if error.code == "model_not_found":
        return 400, PixazoErrorResponse(error="Model not found", message=message)
    if isinstance(error, InvalidRequest):
        return 400, PixazoErrorResponse(error=message)
    if isinstance(error, InsufficientBalance):
        message = _insufficient_balance_message(error)
    status = 404 if isinstance(error, Gone) else min(error.status, 500)
    title = ERROR_TITLES.get(status, HTTPStatus(status).phrase)
    return status, PixazoErrorResponse(error=title, message=message)


def _insufficient_balance_message(error: InsufficientBalance) -> str:
    """Return the document's phrase with the missing amount, or the error's own text for a key's spend cap."""
    if error.code != InsufficientBalance.default_code:
        return error.message
    micros = round(error.details["required_usd"] * MICROS_PER_DOLLAR)
    return f"Your wallet does not have enough balance. Required: ${format_usd(micros)}"
