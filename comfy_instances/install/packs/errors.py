"""Errors of the pack commands."""

from __future__ import annotations

from collections.abc import Sequence


class PackError(Exception):
    """A pack cannot be added, installed or checked; the text says why and what to do."""


class PacksRefused(PackError):
    """A set of packs may not be installed. `problems` holds one line per reason."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(problems))
