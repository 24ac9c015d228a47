"""Prices, plans, costs and the ledger, as pure values."""
