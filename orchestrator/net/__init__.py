"""Outgoing requests to URLs that callers provide."""
