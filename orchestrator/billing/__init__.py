"""Accounts, API keys, prices and reports."""
