"""What can go wrong with media and with the store that keeps them.

MediaError
├── CorruptMedia          the bytes are empty, cut off, broken or of no known format
├── FetchError
│   ├── UrlNotAllowed    not a web address, or one that leads to nothing public
│   ├── Unreachable       the server does not give the file
│   └── FileTooLarge      the file is larger than wanted
└── ObjectStoreError
    ├── ObjectStoreUnavailable  away, overloaded or full: the same call may succeed later
    ├── ObjectStoreRequestRejected      credentials, bucket or request: the same call will fail again
    ├── ObjectNotFound     there is no object with that key
    └── S3ServerNotStarted  the embedded server did not come up
"""

from __future__ import annotations


class MediaError(Exception):
    """Base of all errors of this package; says its docstring where nothing better is known."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or type(self).__name__))


class CorruptMedia(MediaError):
    """The data is not a readable picture, film or sound."""


class ImageTooLarge(CorruptMedia):
    """The picture has more pixels than allowed."""


class FetchError(MediaError):
    """The file could not be fetched."""


class UrlNotAllowed(FetchError):
    """There is no public server at this address."""


class UrlUnreachable(FetchError):
    """The server does not give the file."""


class FileTooLarge(FetchError):
    """The file is too large."""


class ObjectStoreError(MediaError):
    """The object store failed."""


class ObjectStoreUnavailable(ObjectStoreError):
    """The object store can not be reached."""


class ObjectStoreRequestRejected(ObjectStoreError):
    """The object store refuses the request."""


class ObjectNotFound(ObjectStoreError):
    """There is no such object."""


class S3ServerNotStarted(ObjectStoreError):
    """The embedded S3 server did not start."""
