"""The store: a small protocol in domain words, and its implementations."""

from orchestrator.store.protocol import Store
from orchestrator.store.sqlite.store import SqliteStore
from orchestrator.store.values import (
    Account,
    ApiKey,
    ApiKeyLimits,
    ApiKeyScope,
    AuditViolation,
    DeliveryAttempt,
    Page,
    UsageRow,
    WebhookMessage,
)

__all__ = [
    "Account",
    "ApiKey",
    "ApiKeyLimits",
    "ApiKeyScope",
    "AuditViolation",
    "DeliveryAttempt",
    "Page",
    "SqliteStore",
    "Store",
    "UsageRow",
    "WebhookMessage",
]
