"""The settings by subject; `orchestrator.settings` has all of them."""
