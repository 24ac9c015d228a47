"""What is known about the versions of one model: values, and their JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Self


class VersionAction(StrEnum):
    """What happened to a version."""

    DRAFT = "draft"  #: saved as the draft
    PUBLISH = "publish"  #: made live
    ROLLBACK = "rollback"  #: made live again
    REMOVE = "remove"  #: no longer offered
    DISCARD = "discard"  #: the draft was deleted
    FOUND = "found"  #: was live without having been published: its files were edited by hand


@dataclass(frozen=True, kw_only=True, slots=True)
class Author:
    """Who changes a model."""

    #: Account that may call a draft; None for operators only.
    account: str | None
    #: For the history: a key with its name, or an operator.
    name: str
    #: Whether all models may be changed, not only those of the account.
    is_operator: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionEvent:
    """One line of a model's history."""

    #: Digest of the version.
    version: str
    action: VersionAction
    at: datetime
    by: str
    why: str = ""

    def to_json(self) -> dict[str, str]:
        return {
            "version": self.version,
            "action": self.action.value,
            "at": self.at.isoformat(),
            "by": self.by,
            "why": self.why,
        }

    @classmethod
    def from_json(cls, data: dict[str, str]) -> Self:
        """Raises ValueError, KeyError, TypeError."""
        return cls(
            version=str(data["version"]),
            action=VersionAction(data["action"]),
            at=datetime.fromisoformat(data["at"]),
            by=str(data["by"]),
            why=str(data["why"]),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelRecord:
    """Owner, draft, live version and history of a model."""

    #: Id of the account that may change the model; None if only operators may.
    owner: str | None = None
    #: Account that may call the draft besides operators; None for a draft of an operator.
    draft_author: str | None = None
    #: Digest of the draft when it was saved; its files may have been edited since.
    draft: str | None = None
    #: Digest of the version that was made live last; None if it was removed.
    live: str | None = None
    #: Oldest first.
    events: tuple[VersionEvent, ...] = ()
    #: Results that the last test run of a version made, by digest; only of versions with a `batch`.
    made: Mapping[str, int] = field(default_factory=dict)

    @property
    def exists(self) -> bool:
        """Whether a draft or a version was ever saved."""
        return bool(self.events)

    def with_event(self, event: VersionEvent, **changes: Any) -> ModelRecord:
        """Return the record after an event."""
        return replace(self, events=(*self.events, event), **changes)

    def to_json(self) -> dict[str, Any]:
        return {
            "owner": self.owner,
            "draft_author": self.draft_author,
            "draft": self.draft,
            "live": self.live,
            "events": [event.to_json() for event in self.events],
            "made": dict(self.made),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Raises ValueError, KeyError, TypeError, AttributeError."""
        return cls(
            owner=data["owner"],
            draft_author=data["draft_author"],
            draft=data["draft"],
            live=data["live"],
            events=tuple(VersionEvent.from_json(event) for event in data["events"]),
            made={str(version): int(count) for version, count in data.get("made", {}).items()},
        )
