"""Records in the log of changes what commands have changed, with the user who ran them."""

from __future__ import annotations

import asyncio
from typing import Any

from orchestrator.app.resources import open_store, utc_now
from orchestrator.cli.terminal.console import print_warning
from orchestrator.cli.terminal.user_name import user_name
from orchestrator.errors import ServiceError
from orchestrator.settings import Settings
from orchestrator.store import Store
from orchestrator.store.operator_events import OperatorEvent


async def record_in(store: Store, action: str, subject: str, **detail: Any) -> None:
    """Append an event to the log of an open store. A failure is a warning: the change is made already."""
    event = OperatorEvent(
        at=utc_now(),
        actor=f"operator ({user_name()}, command line)",
        action=action,
        subject=subject,
        detail={name: value for name, value in detail.items() if value not in (None, "", [], False)},
    )
    try:
        await store.add_operator_event(event)
    except ServiceError as error:
        print_warning(f"the change is made, but the log of changes could not be written: {error.message}")


def record_change(settings: Settings, action: str, subject: str, **detail: Any) -> None:
    """Append an event to the log of the service's store. Where no service has run yet, there is none."""
    if settings.postgres_url is None and not settings.database_path.exists():
        return

    async def record() -> None:
        async with open_store(settings) as store:
            await record_in(store, action, subject, **detail)

    asyncio.run(record())
