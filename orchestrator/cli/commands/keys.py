"""`pixelfactory keys`: create, list, rotate and revoke API keys, and change the plan of an account."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from orchestrator.app.resources import load_catalog_and_tariff, utc_now
from orchestrator.app.shared_models import fetch_published_models, open_publisher
from orchestrator.billing.api_keys import mask_api_key
from orchestrator.billing.values import DEFAULT_SCOPES
from orchestrator.catalog.publishing.version_files import OPERATORS_ACCOUNT_NAME
from orchestrator.cli.service_access.billing_context import BillingContext, open_billing_context
from orchestrator.cli.service_access.recording import record_in
from orchestrator.cli.service_access.service_choice import read_service_settings
from orchestrator.cli.terminal.console import (
    CliError,
    DataDirOption,
    JsonOption,
    print_json,
    print_json_or,
    print_rows,
)
from orchestrator.settings import Settings
from orchestrator.store import Account, ApiKey, ApiKeyLimits, ApiKeyScope
from pricing.money import format_usd, parse_usd

app = typer.Typer(help="Create, list, rotate and revoke API keys.", no_args_is_help=True)

KeyId = Annotated[str, typer.Argument(help="Id of the key.")]
COLUMNS = ("id", "key", "name", "account", "plan", "scopes", "models", "expires", "revoked")
_DURATION = re.compile(r"(?P<number>[0-9]{1,5})(?P<unit>[hd])", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyRequest:
    """A key to create: of `account`, or of a new account on `plan` with `credit` micro-dollars."""

    name: str
    account: str | None
    plan: str | None
    credit: int
    limits: ApiKeyLimits
    #: For the account by which operators call drafts of models.
    for_operators: bool


@app.command()
def create(
    name: Annotated[str, typer.Option(help="Name of the key.")] = "default",
    plan: Annotated[str | None, typer.Option(help="Plan of the new account.")] = None,
    credit: Annotated[str | None, typer.Option(help="First credit of the new account in USD.")] = None,
    account: Annotated[
        str | None, typer.Option(help="Create the key for this existing account instead of a new one.")
    ] = None,
    operators: Annotated[
        bool, typer.Option("--operators", help="Create it for the operators' account, which may call drafts.")
    ] = False,
    scope: Annotated[
        list[ApiKeyScope] | None,
        typer.Option(help="A scope of the key; repeatable, by default all but publish and graphs."),
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="A model that the key may use; repeatable, by default all.")
    ] = None,
    expires: Annotated[
        str | None, typer.Option(help="Expiry: 12h, 30d, or a day such as 2030-01-31; by default never.")
    ] = None,
    daily_cap: Annotated[str | None, typer.Option(help="Maximum spend per day in USD.")] = None,
    monthly_cap: Annotated[str | None, typer.Option(help="Maximum spend per calendar month in USD.")] = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Create a key, for a new account unless --account names one.

    The secret is shown only now, alone on the last line.
    """
    if operators and account:
        raise CliError("--operators names the account; omit --account")
    if account and (plan or credit):
        raise CliError(
            "--plan and --credit are for new accounts; for an existing one use `pixelfactory keys plan`"
            " and `pixelfactory wallet credit`"
        )
    settings = read_service_settings(data_dir)
    limits = ApiKeyLimits(
        scopes=frozenset(scope) if scope else DEFAULT_SCOPES,
        models=_resolve_model_ids(settings, model) if model else None,
        expires_at=parse_expiry(expires, utc_now()) if expires else None,
        day_cap=_parse_spend_cap(daily_cap),
        month_cap=_parse_spend_cap(monthly_cap),
    )
    micros = parse_usd(credit) if credit else 0
    request = KeyRequest(
        name=name, account=account, plan=plan, credit=micros, limits=limits, for_operators=operators
    )
    _print_new_key(*asyncio.run(_create_key(settings, request)), as_json=json)


@app.command("list")
def list_(
    account: Annotated[str | None, typer.Option(help="Only keys of this account.")] = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """List all keys, without their secrets."""
    print_rows(asyncio.run(_list_keys(read_service_settings(data_dir), account)), COLUMNS, as_json=json)


@app.command()
def rotate(id: KeyId, data_dir: DataDirOption = None, json: JsonOption = False) -> None:
    """Replace a key by a new one with the same limits; the old key stops working at once."""
    _print_new_key(*asyncio.run(_rotate_key(read_service_settings(data_dir), id)), as_json=json)


@app.command()
def revoke(id: KeyId, data_dir: DataDirOption = None, json: JsonOption = False) -> None:
    """Revoke a key at once. Jobs that it has created already are finished and charged."""
    key = asyncio.run(_revoke_key(read_service_settings(data_dir), id))
    print_json_or(f"revoked key {key.id}", _key_row(key), as_json=json)


@app.command()
def plan(
    id: Annotated[str, typer.Argument(help="Id of an account or of a key.")],
    plan: Annotated[str, typer.Argument(help="Name of the plan.")],
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Change the plan of an account."""
    row = asyncio.run(_change_plan(read_service_settings(data_dir), id, plan))
    print_json_or(f"{row['account']} is on plan {row['plan']}", row, as_json=json)


def parse_expiry(text: str, start: datetime) -> datetime:
    """Parse `12h` or `30d` after `start`, or an ISO 8601 day or time (UTC by default). Raises CliError."""
    age = _DURATION.fullmatch(text)
    if age:
        return start + timedelta(hours=int(age["number"]) * (24 if age["unit"] == "d" else 1))
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise CliError(f"--expires must be like 12h, 30d or 2030-01-31 (got {text!r})") from error


async def _create_key(settings: Settings, request: KeyRequest) -> tuple[ApiKey, str]:
    async with open_billing_context(settings, create=True) as context:
        if request.for_operators:
            account = await _get_operators_account(settings, context)
        elif request.account:
            account = await context.resolve_account(request.account)
        else:
            account = await context.accounts.create_account(request.name, request.plan)
        if request.credit:
            await context.store.credit(account.id, request.credit, "first credit", utc_now())
        key, secret = await context.accounts.create_key(account.id, request.name, request.limits)
        credit = format_usd(request.credit) if request.credit else None
        await record_in(
            context.store, "keys.create", key.id, name=key.name, account=account.id, credit_usd=credit
        )
        return key, secret


async def _get_operators_account(settings: Settings, context: BillingContext) -> Account:
    """Return the account whose keys may call every draft; it is created at first use."""
    await asyncio.to_thread(fetch_published_models, settings)
    publisher = open_publisher(settings)
    if (account_id := publisher.files.read_operators_account()) is not None:
        return await context.resolve_account(account_id)
    account = await context.accounts.create_account(OPERATORS_ACCOUNT_NAME)
    return await context.resolve_account(
        await asyncio.to_thread(publisher.choose_operators_account, account.id)
    )


async def _list_keys(settings: Settings, account: str | None) -> list[dict[str, Any]]:
    async with open_billing_context(settings) as context:
        account_id = (await context.resolve_account(account)).id if account else None
        return [_key_row(key) for key in await context.store.list_keys(account_id)]


async def _rotate_key(settings: Settings, key_id: str) -> tuple[ApiKey, str]:
    async with open_billing_context(settings) as context:
        key, secret = await context.accounts.rotate_key(key_id)
        await record_in(context.store, "keys.rotate", key_id, new=key.id)
        return key, secret


async def _revoke_key(settings: Settings, key_id: str) -> ApiKey:
    async with open_billing_context(settings) as context:
        key = await context.store.revoke_key(key_id, utc_now())
        await record_in(context.store, "keys.revoke", key_id)
        return key


async def _change_plan(settings: Settings, id: str, plan: str) -> dict[str, str]:
    async with open_billing_context(settings) as context:
        account = await context.resolve_account(id)
        changed = await context.accounts.change_plan(account.id, plan)
        await record_in(context.store, "accounts.plan", account.id, plan=plan)
        return {"account": changed.id, "plan": changed.plan}


def _print_new_key(key: ApiKey, secret: str, *, as_json: bool) -> None:
    if as_json:
        print_json({**_key_row(key), "key": secret})
        return
    typer.echo(f"key {key.id} of account {key.account.id} ({key.account.plan})")
    typer.echo(secret)


def _resolve_model_ids(settings: Settings, names: Sequence[str]) -> frozenset[str]:
    """Return the ids of models named by id or alias. Raises InvalidRequest for an unknown model."""
    fetch_published_models(settings)
    catalog, _ = load_catalog_and_tariff(settings)
    return frozenset(model.id for name in names for model in catalog.models_of(name))


def _parse_spend_cap(usd: str | None) -> int | None:
    micros = None if usd is None else parse_usd(usd)
    if micros is not None and micros < 0:
        raise CliError(f"a spend cap must not be negative (got {usd})")
    return micros


def _key_row(key: ApiKey) -> dict[str, Any]:
    limits = key.limits
    return {
        "id": key.id,
        "key": mask_api_key(key.prefix),
        "name": key.name,
        "account": key.account.id,
        "plan": key.account.plan,
        "scopes": sorted(limits.scopes),
        "models": sorted(limits.models) if limits.models is not None else None,
        "daily_cap": None if limits.day_cap is None else format_usd(limits.day_cap),
        "monthly_cap": None if limits.month_cap is None else format_usd(limits.month_cap),
        "created": key.created_at.isoformat(timespec="seconds"),
        "expires": limits.expires_at.isoformat(timespec="seconds") if limits.expires_at else None,
        "revoked": key.revoked_at.isoformat(timespec="seconds") if key.revoked_at else None,
    }
