"""Accounts, API keys, prices, charging rules and reports."""
