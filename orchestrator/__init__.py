"""The orchestrator: API, scheduling, execution, storage, billing, command line."""
