"""Finds processes that a test or the service under test started."""

from __future__ import annotations

from collections.abc import Iterator

import psutil


def child_processes(parent: int | None = None) -> list[psutil.Process]:
    """Return the children of a process, this one by default, and theirs."""
    return psutil.Process(parent).children(recursive=True)


def find_processes(word: str, processes: list[psutil.Process]) -> Iterator[psutil.Process]:
    """Yield the running processes that have `word` as an argument of their command line.

    Processes that end meanwhile are left out.
    """
    for process in processes:
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if word in words:
            yield process
