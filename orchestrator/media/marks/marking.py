"""Mark generated media: with IPTC's source type, and with a signed manifest if there is a certificate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from orchestrator.media.marks.content_credentials import SIGNED_TYPES, CredentialSigner, MediaOrigin
from orchestrator.media.marks.source_marks import MARKED_TYPES, mark_source

#: Types that the node pack of an instance marks when it encodes images.
PACK_MARKED_TYPES = frozenset({"image/png", "image/jpeg", "image/webp"})


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class MediaMarker:
    """Marks what leaves the service. The key for signatures is in this process only."""

    signer: CredentialSigner | None = None
    #: Whether manifests hold the prompt.
    with_prompt: bool = False
    clock: Callable[[], datetime] = _utc_now

    def mark(self, data: bytes, content_type: str, origin: MediaOrigin) -> bytes:
        """Return the same pixels, frames or samples with mark and manifest; other files as they are.

        CPU-bound: call it in a worker thread. Raises CorruptMedia, CredentialsError.
        """
        marked = mark_source(data, content_type, origin.source)
        if self.signer is None or content_type not in SIGNED_TYPES:
            return marked
        shown = origin if self.with_prompt else replace(origin, prompt=None)
        return self.signer.sign(marked, content_type, shown, self.clock())

    def must_mark(self, content_type: str) -> bool:
        """Return whether this process must mark a file that the node pack of an instance has encoded."""
        if self.signer is not None and content_type in SIGNED_TYPES:
            return True
        return content_type in MARKED_TYPES - PACK_MARKED_TYPES
