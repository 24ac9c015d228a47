"""Open the billing store for a command, while a service may run on the same data directory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from orchestrator.app.resources import open_store, utc_now
from orchestrator.billing.accounts import AccountService
from orchestrator.billing.price_files import load_plans
from orchestrator.cli.terminal.console import CliError
from orchestrator.settings import Settings
from orchestrator.store import Account, Store


@dataclass(frozen=True, slots=True)
class BillingContext:
    """The store, and the account service that applies the plans to it."""

    store: Store
    accounts: AccountService

    async def resolve_account(self, id: str) -> Account:
        """Return the account with this id, or that of the key with this id, after renewing its allowance.

        Raises NotFound.
        """
        account = await self.store.resolve_account(id)
        await self.accounts.renew_allowance(account)
        return account


@asynccontextmanager
async def open_billing_context(settings: Settings, *, create: bool = False) -> AsyncIterator[BillingContext]:
    """Open the store of the settings' data directory, which must exist unless the command may `create` it.

    Raises PlanError, CliError.
    """
    plans = load_plans(settings)
    # A new store would answer that there are no keys, wallets and jobs, also to who misspelt the directory.
    if not create and settings.postgres_url is None and not settings.database_path.exists():
        raise CliError(
            f"there is no database in {settings.data_dir}: no service has used it yet; name the directory"
            " of the service with --data-dir or PIXELFACTORY_DATA_DIR"
        )
    async with open_store(settings) as store:
        yield BillingContext(store, AccountService(store, plans, utc_now))
