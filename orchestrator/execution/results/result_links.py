"""Links to results at the service's own address, which answer GET, HEAD, and 404 once they expire.

A presigned URL of S3 is signed for one method, so that HEAD on it is refused, and its end is a 403. A link
names a job, one of its objects and when it expires, with a code that only the service can make.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from orchestrator.errors import NotFound
from orchestrator.media.errors import UrlNotAllowed
from orchestrator.storage.object_store import ObjectStore
from orchestrator.url_codes import find_in_url

#: Path of all links.
ROOT = "/results"
_LINK = re.compile(
    ROOT + r"/(?P<job>job_[0-9a-f]{32})/(?P<expires>\d{1,12})/(?P<code>[0-9a-f]{32})/(?P<key>[\w.+/-]+)",
    re.ASCII,
)
#: Lifetime of the presigned URL by which the service reads a result of its own, in seconds.
OWN_READ_SECONDS = 300


@dataclass(frozen=True, slots=True)
class ResultLink:
    """What a link leads to."""

    job_id: str
    key: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ResultLinks:
    """Makes and resolves links to stored objects."""

    secret: str = field(repr=False)
    objects: ObjectStore
    clock: Callable[[], datetime]

    def path_of(self, link: ResultLink, expires: datetime) -> str:
        """Return the path of a link that ends at `expires`, rounded down to seconds."""
        end = int(expires.timestamp())
        return f"{ROOT}/{link.job_id}/{end}/{self._code(link, end)}/{link.key}"

    def resolve(self, path: str) -> ResultLink:
        """Return what a link leads to. Raises NotFound, also for an expired or a forged one."""
        found = self._find(path)
        if found is None or self._has_ended(found[1]):
            raise result_not_found()
        return found[0]

    async def presign_own(self, url: str) -> str | None:
        """Return a presigned URL of the object that a link leads to, or None if it is no link of ours.

        Raises UrlNotAllowed for a link that has expired.
        """
        found = find_in_url(url, ROOT, self._find)
        if found is None:
            return None
        link, end = found
        if self._has_ended(end):
            raise UrlNotAllowed(
                f"the link to this result of {link.job_id} has expired; get the job again for a new URL"
            )
        return self.objects.presign(link.key, OWN_READ_SECONDS)

    def _find(self, path: str) -> tuple[ResultLink, int] | None:
        """Return what a link leads to and its end in Unix time; None if the service has not made it."""
        found = _LINK.fullmatch(path)
        if found is None:
            return None
        link, end = ResultLink(found["job"], found["key"]), int(found["expires"])
        return (link, end) if hmac.compare_digest(found["code"], self._code(link, end)) else None

    def _has_ended(self, end: int) -> bool:
        return end <= self.clock().timestamp()

    def _code(self, link: ResultLink, end: int) -> str:
        text = f"link to {link.key} of {link.job_id} until {end}"
        return hmac.new(self.secret.encode(), text.encode(), hashlib.sha256).hexdigest()[:32]


def result_not_found() -> NotFound:
    """Return the error for a link that leads to no result (any more)."""
    return NotFound(
        "There is no result at this URL: it is wrong, it has expired, or the result was deleted; get the job"
        " again for new URLs",
        code="output_not_found",
    )
