"""API for operators: accounts, API keys, wallets, models, instances. Needs the admin token."""
