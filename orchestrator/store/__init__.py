"""The store: its interface (`Store`) and values. `store.sqlite` and `store.memory` implement it."""

from orchestrator.store.protocol import Store
from orchestrator.store.values import (
    Account,
    ApiKey,
    ApiKeyLimits,
    ApiKeyScope,
    AuditViolation,
    Claim,
    DeliveryAttempt,
    DueReceiver,
    MessageReceiver,
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
    "Claim",
    "DeliveryAttempt",
    "DueReceiver",
    "MessageReceiver",
    "Page",
    "Store",
    "UsageRow",
    "WebhookMessage",
]
