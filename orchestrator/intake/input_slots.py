"""Limits on downloading and decoding input files at the same time, per account and in total.

Callers choose the servers that files are downloaded from, and a slow one holds its slot until the timeout. So
downloads have slots per account, free price quotes have a small class of their own, and files that are sent
with the request need no download slot at all. A download that lasts longer than `SLOW_SECONDS` leaves its
slot to others, so that a few accounts with slow servers cannot hold all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum

from orchestrator.fair_slots import FairSlots, SlowUses

#: After how long a download counts as slow. The file of a server that responds as it should is there by then.
SLOW_SECONDS = 2.0


class InputPurpose(StrEnum):
    """Why input files are read."""

    JOB = "job"
    QUOTE = "quote"


class InputKind(StrEnum):
    """What kind of file is read."""

    IMAGE = "image"
    VIDEO = "video"  #: and audio
    DATASET = "dataset"


@dataclass(frozen=True, slots=True)
class InputOwner:
    """For whom and why input files are read."""

    account_id: str
    purpose: InputPurpose


def _download_slots() -> Mapping[tuple[InputKind, InputPurpose], FairSlots]:
    # The totals and the maxima of slow downloads bound the memory use, because each download may hold a file
    # of the largest size.
    return {
        (InputKind.IMAGE, InputPurpose.JOB): _slots(64, per_account=8, max_waiting=64, max_slow=192),
        (InputKind.IMAGE, InputPurpose.QUOTE): _slots(16, per_account=2, max_waiting=32, max_slow=64),
        (InputKind.VIDEO, InputPurpose.JOB): _slots(16, per_account=2, max_waiting=32, max_slow=32),
        (InputKind.VIDEO, InputPurpose.QUOTE): _slots(4, per_account=1, max_waiting=16, max_slow=32),
        (InputKind.DATASET, InputPurpose.JOB): _slots(16, per_account=2, max_waiting=32, max_slow=32),
        (InputKind.DATASET, InputPurpose.QUOTE): _slots(4, per_account=1, max_waiting=16, max_slow=32),
    }


def _slots(total: int, *, per_account: int, max_waiting: int, max_slow: int) -> FairSlots:
    slow = SlowUses(SLOW_SECONDS, max_slow)
    return FairSlots("input URLs", total, per_account=per_account, max_waiting=max_waiting, slow=slow)


def _decoder_slots() -> Mapping[InputKind, FairSlots]:
    # As many as the decoders have threads. An account that decodes much never holds all of them.
    return {
        InputKind.IMAGE: FairSlots("input images", 2, per_account=1, max_waiting=512),
        InputKind.VIDEO: FairSlots("input videos", 2, per_account=1, max_waiting=64),
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
