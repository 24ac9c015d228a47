"""Outgoing requests to addresses that callers name."""
