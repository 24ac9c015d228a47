"""The command line `pixelfactory`: one module per command group."""

from __future__ import annotations

from orchestrator.cli.main import main

__all__ = ["main"]
