"""Links to stored results at the service's own address, which answer HEAD as well as GET.

A presigned URL of S3 is signed for one method, so HEAD on it is refused. A result link names the key of an
object and when it expires, with a code that only the service can make.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import urlsplit

from orchestrator.errors import NotFound
from orchestrator.storage.object_store import ObjectStore

#: Path of all links.
ROOT = "/results"
_LINK = re.compile(ROOT + r"/(\d{1,12})/([0-9a-f]{32})/([\w./-]+)", re.ASCII)
#: Lifetime of the presigned URL by which the service reads a result of its own, in seconds.
OWN_READ_SECONDS = 300


@dataclass(frozen=True, kw_only=True, slots=True)
class ResultLinks:
    """Makes and resolves links to stored objects."""

    secret: str = field(repr=False)
    lifetime_seconds: int
    objects: ObjectStore
    clock: Callable[[], datetime]

    def path_of(self, key: str) -> str:
        """Return the path of a new link to an object."""
        expires = int(self.clock().timestamp()) + self.lifetime_seconds
        return f"{ROOT}/{expires}/{self._code(expires, key)}/{key}"

    def find_key(self, path: str) -> str:
        """Return the key of the object that a link leads to.

        Raises NotFound, also for a link that has expired or was tampered with.
        """
        link = _LINK.fullmatch(path)
        is_ours = link and hmac.compare_digest(link[2], self._code(int(link[1]), link[3]))
        if link and is_ours and int(link[1]) > self.clock().timestamp():
            return link[3]
        raise NotFound(
            "There is no result at this URL: it is wrong or has expired; get the job again for new URLs",
            code="output_not_found",
        )

    def presign_own(self, url: str) -> str | None:
        """Return a presigned URL of the object that a link leads to, or None if it is no link of ours."""
        if f"{ROOT}/" not in url:
            return None
        try:
            key = self.find_key(urlsplit(url).path)
        except (NotFound, ValueError):
            return None
        return self.objects.presign(key, OWN_READ_SECONDS)

    def _code(self, expires: int, key: str) -> str:
        return link_code(self.secret, f"link to a result until {expires}: {key}")


def link_code(secret: str, text: str) -> str:
    """Return the code that proves that this service made a link: 128 bits of an HMAC, in hexadecimal."""
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()[:32]
