"""The store: a small protocol in domain words, and its implementations."""

from orchestrator.store.protocol import Store
from orchestrator.store.sqlite import SqliteStore
from orchestrator.store.values import (
    Account,
    DeliveryAttempt,
    Key,
    KeyLimits,
    Message,
    Page,
    Scope,
    UsageRow,
    Violation,
)

__all__ = [
    "Account",
    "DeliveryAttempt",
    "Key",
    "KeyLimits",
    "Message",
    "Page",
    "Scope",
    "SqliteStore",
    "Store",
    "UsageRow",
    "Violation",
]
