"""Options that are integers take plain digits only, in every command."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest
import typer

from orchestrator.cli.commands.generate import parse_params
from orchestrator.cli.main import build_app
from orchestrator.cli.service_access.operator_jobs import format_usd_value
from orchestrator.cli.terminal.console import describe_cents, format_cents
from orchestrator.cli.terminal.numbers import integer_between, number_at_least


def iter_options(app: typer.Typer) -> Iterator[tuple[str, Any, Any]]:
    """Yield the name, the type and the description of every option of every command."""
    for command in app.registered_commands:
        for name, hint in get_type_hints(command.callback, include_extras=True).items():
            if name != "return":
                kind, option = get_args(hint)[:2] if get_origin(hint) is Annotated else (hint, None)
                yield f"{command.name or command.callback} {name}", kind, option
    for group in app.registered_groups:
        assert group.typer_instance is not None
        yield from iter_options(group.typer_instance)


def test_no_option_leaves_its_number_to_python() -> None:
    options = list(iter_options(build_app()))
    assert len(options) > 50
    numbers = [
        (name, option) for name, kind, option in options if {int, float, Decimal} & {kind, *get_args(kind)}
    ]
    assert len(numbers) >= 6
    assert [name for name, option in numbers if option is None or option.parser is None] == []


@pytest.mark.parametrize(
    "text", ["1_0", " 5", "5 ", "+5", "\u0665", "\uff15", "5.0", "1e1", "0x5", "", "five"]
)
def test_rejects_what_is_not_plain_digits(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="plain digits"):
        integer_between(1, 100)(text)


def test_rejects_numbers_outside_the_limits() -> None:
    for text in ("0", "101", "-5"):
        with pytest.raises(typer.BadParameter, match="from 1 to 100"):
            integer_between(1, 100)(text)
    with pytest.raises(typer.BadParameter, match="at least 1"):
        integer_between(1)("0")
    assert (integer_between(1)("1000"), integer_between(0, 5)("5"), integer_between(0, 5)(3)) == (1000, 5, 3)


@pytest.mark.parametrize("text", ["1_0.5", " 5", "+5", "1e3", "nan", "inf", "", "five"])
def test_rejects_decimal_numbers_that_are_not_plain_digits(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="plain digits"):
        number_at_least(0)(text)


def test_takes_decimal_numbers_from_a_limit_on() -> None:
    assert [number_at_least(0)(text) for text in ("0", "2.5", 3.0)] == [0.0, 2.5, 3.0]
    with pytest.raises(typer.BadParameter, match="at least 0"):
        number_at_least(0)("-0.5")


def test_values_of_parameters_are_numbers_in_plain_digits_or_text() -> None:
    written = ["a=12", "b=0.5", "c=-3", "d=1_000", "e=1e3", "f= 5", "g=NaN", 'h={"x": 1}', "i=true", "j=+5"]
    assert parse_params(written) == {
        "a": 12,
        "b": 0.5,
        "c": -3,
        "d": "1_000",
        "e": "1e3",
        "f": " 5",
        "g": "NaN",
        "h": {"x": 1},
        "i": True,
        "j": "+5",
    }


def test_amounts_are_written_whole_and_without_exponents() -> None:
    cents = {1.0: "1", 1.0092: "1.0092", 0.0003: "0.0003", 0.0: "0", 123456.78: "123456.78"}
    assert {value: format_cents(value) for value in cents} == cents
    assert [describe_cents(value) for value in (1.0, 1.5, 0.0)] == ["1 cent", "1.5 cents", "0 cents"]
    usd = {0.000003: "0.000003", 0.01: "0.01", -0.25: "-0.25", 1234567.5: "1234567.50"}
    assert {value: format_usd_value(value) for value in usd} == usd
