"""API of the caller's account: billing, budget alerts, payments, webhook messages."""
