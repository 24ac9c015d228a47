"""The store in memory: for tests and short-lived processes."""

from orchestrator.store.memory.store import MemoryStore
from orchestrator.store.memory.tables import MemoryTables

__all__ = ["MemoryStore", "MemoryTables"]
