"""Numbers that arrive as text are plain digits, in whichever field of whichever body."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestrator.errors import InvalidRequest
from orchestrator.number_text import NumberTextError, parse_decimal, parse_integer
from orchestrator.web.account.alerts import ChangeAlertRequest
from orchestrator.web.account.key_schemas import KeyLimitsRequest
from orchestrator.web.admin.accounts import CreateAccountRequest
from orchestrator.web.admin.wallets import RefundRequest, WalletBookingRequest
from orchestrator.web.dialects.openai.image_bodies import ImageGenerationBody
from orchestrator.web.dialects.request_body import parse_body
from orchestrator.web.http.request_model import RequestModel, first_validation_error

#: What Python reads as a number, and a person may have meant otherwise.
ODD_NUMBERS = [
    "1_000",
    "1__0",
    "1e3",
    "1E-2",
    " 5",
    "5 ",
    "5\n",
    "\t5",
    "+5",
    "٣",
    "\uff15",
    "১২",
    "5.",
    ".5",
    "5._0",
    "inf",
    "nan",
    "-inf",
    "Infinity",
    "NaN",
    "sNaN",
    "1" * 41,
]
#: Every field for money of every body, with the other fields that the body needs.
MONEY_FIELDS: list[tuple[type[RequestModel], str]] = [
    (WalletBookingRequest, "usd"),
    (RefundRequest, "usd"),
    (CreateAccountRequest, "credit_usd"),
    (KeyLimitsRequest, "daily_cap_usd"),
    (KeyLimitsRequest, "monthly_cap_usd"),
    (ChangeAlertRequest, "threshold_usd"),
]


@pytest.mark.parametrize("text", ODD_NUMBERS)
@pytest.mark.parametrize(("body", "field"), MONEY_FIELDS, ids=lambda part: getattr(part, "__name__", part))
def test_rejects_odd_amounts(body: type[RequestModel], field: str, text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        body.model_validate({field: text})
    error = first_validation_error(caught.value)
    assert (error.code, error.param) == (f"invalid_{field}", field)
    assert "plain digits" in error.message or "finite" in error.message


@pytest.mark.parametrize("amount", [5, 5.25, "5", "5.25", "0.000001", "1000000"])
@pytest.mark.parametrize(("body", "field"), MONEY_FIELDS, ids=lambda part: getattr(part, "__name__", part))
def test_accepts_plain_amounts(body: type[RequestModel], field: str, amount: Any) -> None:
    assert getattr(body.model_validate({field: amount}), field) == Decimal(str(amount))


@pytest.mark.parametrize(
    "text", [text for text in ODD_NUMBERS if "a" not in text.lower() and "f" not in text]
)
@pytest.mark.parametrize("field", ["n", "seed", "steps", "cfg_scale", "output_compression", "partial_images"])
@pytest.mark.parametrize("kind", [str, bytes])
def test_rejects_odd_numbers_in_forms(field: str, text: str, kind: type) -> None:
    value = text if kind is str else text.encode()
    with pytest.raises(InvalidRequest) as caught:
        parse_body(ImageGenerationBody, {"prompt": "a", field: value}, form=True)
    assert (caught.value.code, caught.value.param) == (f"invalid_{field}", field)


def test_accepts_plain_numbers_in_forms() -> None:
    fields = {"prompt": "1_000", "n": "2", "seed": "0", "cfg_scale": "1.50", "output_compression": "90"}
    body = parse_body(ImageGenerationBody, fields, form=True)
    assert (body.n, body.seed, body.cfg_scale, body.output_compression) == (2, 0, 1.5, 90)
    assert body.prompt == "1_000"


@given(st.integers(-(10**39), 10**39))
def test_integers_are_read_as_they_are_written(number: int) -> None:
    assert parse_integer(str(number)) == number
    assert parse_decimal(str(number)) == number


@given(st.text(max_size=8) | st.text(alphabet="0123456789.-+_eE \u0663\uff15", max_size=8))
def test_text_is_plain_digits_or_rejected(text: str) -> None:
    for parse in (parse_integer, parse_decimal):
        try:
            number = parse(text)
        except NumberTextError:
            continue
        assert text.lstrip("-").replace(".", "", 1).isdecimal()
        assert text.isascii()
        assert number == Decimal(text)
