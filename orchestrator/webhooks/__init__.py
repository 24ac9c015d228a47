"""Signing, delivery and retries of webhooks."""
