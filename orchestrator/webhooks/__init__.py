"""Webhooks: signing, delivery, retries."""
