"""`pixelfactory prices`: list price classes and add one for own models."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

import typer

from orchestrator.app.resources import utc_now
from orchestrator.app.shared_models import edited_models, fetch_published_models
from orchestrator.billing.own_prices import add_own_prices, read_own_prices, write_own_price
from orchestrator.billing.price_files import load_tariffs, own_prices_file
from orchestrator.catalog.manifest import ID_PATTERN
from orchestrator.cli.service_access.recording import record_change
from orchestrator.cli.service_access.service_choice import read_service_settings
from orchestrator.cli.terminal.console import (
    CliError,
    DataDirOption,
    JsonOption,
    print_json_or,
    print_rows,
)
from pricing.rates import Scale
from pricing.tariff import DEFAULT_TARIFF

app = typer.Typer(help="List price classes, and add one.", no_args_is_help=True)

COLUMNS = ("price_class", "usd", "scale", "own")


@app.command("list")
def list_(data_dir: DataDirOption = None, json: JsonOption = False) -> None:
    """List the price classes of today, in US dollars at base size."""
    settings = read_service_settings(data_dir)
    fetch_published_models(settings)
    own = read_own_prices(own_prices_file(settings))
    tariff = load_tariffs(settings).in_force_on(DEFAULT_TARIFF, utc_now().date())
    rows = [
        {
            "price_class": name,
            "usd": float(tariff.base_micros(name) / 1_000_000),
            "scale": price.scale.value if price.scale else "as its kind",
            "own": name in own,
        }
        for name, price in sorted(tariff.prices.items())
    ]
    print_rows(rows, COLUMNS, as_json=json)


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Name of the price class.")],
    usd: Annotated[
        str | None, typer.Argument(help="US dollars for one result of base size, such as 0.004.")
    ] = None,
    like: Annotated[str | None, typer.Option(help="Take the price of this class.")] = None,
    scale: Annotated[
        Scale | None, typer.Option(help="What the price is multiplied by; by default as its kind is.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Change an own price class. Accepted jobs keep their price.")
    ] = False,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Add a price class for own models. A running service knows it within seconds.

    The base size is 1024x1024 for images, 81 frames for videos, and 1000 steps for training.
    """
    settings = read_service_settings(data_dir)
    fetch_published_models(settings)
    file, tariffs = own_prices_file(settings), load_tariffs(settings)
    tariff = tariffs.in_force_on(DEFAULT_TARIFF, utc_now().date())
    if not re.fullmatch(ID_PATTERN, name):
        raise CliError(f"NAME must be letters a-z, digits, '.', '_' and '-' (got {name!r})")
    own = read_own_prices(file)
    if name in tariff and not (replace and name in own):
        way_out = "use --replace to change it" if name in own else "choose another name"
        raise CliError(f"there is a price class {name} already; {way_out}")
    if (usd is None) == (like is None):
        raise CliError("give the price in US dollars, or --like with a price class")
    if like is not None and like not in tariff:
        known = ", ".join(sorted(tariff.prices))
        raise CliError(f"--like {like}: there is no such price class; there are {known}")
    price: Any = {"like": like} if like is not None else _parse_usd(usd or "", tariff.unit)
    if scale is not None:
        if like is not None:
            raise CliError("--scale is for a price in US dollars; --like takes that of the other class")
        price = {"price": price, "scale": scale.value}
    add_own_prices(tariffs, {f"{name}.new": price}, file)  # raises TariffError if it is invalid
    file.parent.mkdir(parents=True, exist_ok=True)
    with edited_models(settings):
        write_own_price(file, name, price)
    record_change(settings, "prices.change", name, price=price)
    print_json_or(
        f"price class {name} is in {file}; name it in a model: --price-class {name}",
        {"price_class": name, "file": str(file)},
        as_json=json,
    )


def _parse_usd(text: str, micros_per_unit: Any) -> str:
    """Return a price in units of the default tariff. Raises CliError."""
    try:
        usd = Decimal(text)
    except InvalidOperation as error:
        raise CliError(f"the price must be US dollars such as 0.004 (got {text!r})") from error
    if not usd.is_finite() or usd <= 0 or usd > 10_000 or len(text) > 20:
        raise CliError(f"the price must be more than 0 and at most 10000 US dollars (got {text!r})")
    if micros_per_unit != 1_000_000:
        raise CliError("the default tariff is not in US dollars; add the price class to its file")
    return f"{usd:f}"
