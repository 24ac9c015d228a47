"""Counts failed calls of object storage, for a metric."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.media.errors import ObjectNotFound, ObjectStoreError, ObjectStoreUnavailable


class CountedErrors:
    """Calls that failed since the start: `unavailable`, or `rejected` by the server."""

    def __init__(self) -> None:
        self.counts = Counter(unavailable=0, rejected=0)

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count an error of the block. That there is no such object is none."""
        try:
            yield
        except ObjectNotFound:
            raise
        except ObjectStoreError as error:
            self.counts["unavailable" if isinstance(error, ObjectStoreUnavailable) else "rejected"] += 1
            raise
