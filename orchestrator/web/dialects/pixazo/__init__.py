"""Pixazo's gateway: one path per model, requests that are polled or reported to a webhook."""
