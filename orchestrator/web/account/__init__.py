"""The caller's account: billing, alerts, payments, webhook messages."""
