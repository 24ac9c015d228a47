"""Stored objects: whose they are, how they are named, and when they may be deleted. Values and pure rules.

Protocol: no job ever names an object that is deleted, and no object stays that nothing names.

1. An object has one owner, which its key names: the attempt that made an output, or the job that an input
   file or a converted image belongs to. Nothing is shared between accounts, jobs or attempts, so that none
   can delete what another one finds "already stored". The exception is the file of a LoRA: jobs of its
   account that use it refer to it too.
2. An object is written first and referenced afterwards, in the transaction that makes it visible: outputs
   with the end of their shard, input files with their job.
3. A deletion is a row of the store (`ObjectDeletion`), added in the transaction that drops the last
   reference. From then on the object is condemned. It is deleted afterwards, and retried until that has
   succeeded; the row remains for a day.
4. The transaction that references an object refuses a condemned one. The transaction that condemns an object
   spares a referenced one, and one whose attempt has not ended. The store runs one after the other, so that
   an object which was written and is not referenced yet is either referenced or deleted, and never both.

Earlier versions named objects after their content only, and jobs shared them. These keys stay readable; they
are condemned with their last reference, and no new job refers to them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

#: Prefixes of the keys of all objects that belong to jobs.
OUTPUT_PREFIX, INPUT_PREFIX = "outputs/", "inputs/"
#: Of the files of training jobs; unlike `outputs/`, rules of the bucket keep them for long.
LORA_PREFIX = "loras/"
OBJECT_PREFIXES = (INPUT_PREFIX, OUTPUT_PREFIX, LORA_PREFIX)
#: Prefixes of objects that no job names, and that callers miss when they are lost: files for their own
#: graphs, and what they have chosen for a key.
GRAPH_FILE_PREFIX, KEY_OPTIONS_PREFIX = "graph-files/", "a1111-options/"
CALLER_PREFIXES = (GRAPH_FILE_PREFIX, KEY_OPTIONS_PREFIX)
#: End of the keys of thumbnails. Their digest is that of the result, not their own.
_THUMBNAIL_EXT = "thumbnail.webp"
#: How long a deletion stays on record after the object was deleted.
DELETION_KEPT = timedelta(days=1)
_KEY = re.compile(r"(?:inputs|outputs|loras)/[^/]+/(?P<owner>[\w-]+)-[0-9a-f]{64}\.[\w.+-]+")
_CONTENT_KEY = re.compile(r"(?:inputs|outputs)/[0-9a-f]{2}/[0-9a-f]{64}\.[\w.+-]+")


class DeletionReason(StrEnum):
    """Why an object is deleted."""

    REMOVED = "removed"  #: its job was removed by its caller
    EXPIRED = "expired"  #: its job expired
    UNUSED = "unused"  #: the job that it was made for has ended or was not accepted
    ORPHAN = "orphan"  #: a process or an instance died before the object was referenced


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectDeletion:
    """An object that has to be deleted."""

    key: str
    reason: DeletionReason
    requested_at: datetime
    #: When to try next.
    due_at: datetime
    #: Number of failed tries.
    attempts: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class JobFile:
    """A reference: a job needs an object."""

    key: str
    job_id: str
    #: When the job finished; None while it has not.
    finished_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class FileChanges:
    """References to add and to drop, and the deletions that follow. Outputs of shards are added with them."""

    added: Sequence[JobFile] = ()
    #: Keys and jobs whose references are dropped.
    dropped_keys: Sequence[str] = ()
    dropped_jobs: Sequence[str] = ()
    deletions: Sequence[ObjectDeletion] = ()

    def __add__(self, other: FileChanges) -> FileChanges:
        """Return both sets of changes."""
        return FileChanges(
            added=(*self.added, *other.added),
            dropped_keys=(*self.dropped_keys, *other.dropped_keys),
            dropped_jobs=(*self.dropped_jobs, *other.dropped_jobs),
            deletions=(*self.deletions, *other.deletions),
        )


NO_FILE_CHANGES = FileChanges()


def owned_object_key(prefix: str, owner: str, sha256: str, ext: str) -> str:
    """Return the key of an object of `owner`: the prompt id of an attempt, or the id of a job."""
    return f"{prefix}{owner[-2:]}/{owner}-{sha256}.{ext}"


def thumbnail_key(job_id: str, sha256: str) -> str:
    """Return the key of the thumbnail of the result with this digest."""
    return owned_object_key(OUTPUT_PREFIX, job_id, sha256, _THUMBNAIL_EXT)


def is_thumbnail(key: str) -> bool:
    """Whether the object is a thumbnail, which is made again when it is missing."""
    return key.endswith(f".{_THUMBNAIL_EXT}")


def object_owner(key: str) -> str | None:
    """Return the prompt id or job id that a key names; None for a key of an earlier version."""
    found = _KEY.fullmatch(key)
    return None if found is None else found["owner"]


def is_job_object(key: str) -> bool:
    """Whether a key is one that this version or an earlier one gives to objects of jobs."""
    return bool(_KEY.fullmatch(key) or _CONTENT_KEY.fullmatch(key))


def input_keys(params: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the keys of a job's input files, by parameter."""
    found: dict[str, list[str]] = {}
    for name, value in params.items():
        values = value if isinstance(value, list) else [value]
        keys = [key for key in values if isinstance(key, str) and key.startswith(INPUT_PREFIX)]
        if keys and all(map(is_job_object, keys)):
            found[name] = keys
    return found


def condemn(keys: Iterable[str], reason: DeletionReason, now: datetime) -> FileChanges:
    """Return the changes that have objects deleted."""
    return FileChanges(
        deletions=tuple(
            ObjectDeletion(key=key, reason=reason, requested_at=now, due_at=now)
            for key in dict.fromkeys(keys)
        )
    )


def unneeded_keys(keys: Iterable[str], needed: Collection[str], running: Collection[str]) -> list[str]:
    """Return the keys that no job refers to (`needed`) and that belong to no `running` attempt."""
    return [key for key in dict.fromkeys(keys) if key not in needed and object_owner(key) not in running]
