"""Limits on downloading and decoding input files at the same time, per account and in total.

Callers choose the servers that files are downloaded from, and a slow one holds its slot until the timeout. So
downloads have slots per account, free price quotes have a small class of their own, and files that are sent
with the request need no download slot at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum

from orchestrator.fair_slots import FairSlots


class InputPurpose(StrEnum):
    """Why input files are read."""

    JOB = "job"
    QUOTE = "quote"


class InputKind(StrEnum):
    """What kind of file is read."""

    IMAGE = "image"
    DATASET = "dataset"


@dataclass(frozen=True, slots=True)
class InputOwner:
    """For whom and why input files are read."""

    account_id: str
    purpose: InputPurpose


def _download_slots() -> Mapping[tuple[InputKind, InputPurpose], FairSlots]:
    # The totals bound the memory use, because each download may hold a file of the largest size.
    urls = "input URLs"
    return {
        (InputKind.IMAGE, InputPurpose.JOB): FairSlots(urls, 64, per_account=8, max_waiting=64),
        (InputKind.IMAGE, InputPurpose.QUOTE): FairSlots(urls, 16, per_account=2, max_waiting=32),
        (InputKind.DATASET, InputPurpose.JOB): FairSlots(urls, 16, per_account=2, max_waiting=32),
        (InputKind.DATASET, InputPurpose.QUOTE): FairSlots(urls, 4, per_account=1, max_waiting=16),
    }


def _decoder_slots() -> Mapping[InputKind, FairSlots]:
    # As many as the decoders have threads. An account that decodes much never holds all of them.
    return {
        InputKind.IMAGE: FairSlots("input images", 2, per_account=1, max_waiting=512),
        InputKind.DATASET: FairSlots("datasets", 2, per_account=1, max_waiting=16),
    }


@dataclass(frozen=True, slots=True)
class InputSlots:
    """The slots of all accounts. Waiting for one raises RateLimited if the account's queue is full."""

    _downloads: Mapping[tuple[InputKind, InputPurpose], FairSlots] = field(default_factory=_download_slots)
    _decoders: Mapping[InputKind, FairSlots] = field(default_factory=_decoder_slots)

    def download(self, owner: InputOwner, kind: InputKind) -> AbstractAsyncContextManager[None]:
        """Return a slot for a download."""
        return self._downloads[kind, owner.purpose].slot(owner.account_id)

    def decode(self, owner: InputOwner, kind: InputKind) -> AbstractAsyncContextManager[None]:
        """Return a slot for decoding."""
        return self._decoders[kind].slot(owner.account_id)
