"""Errors of media handling, downloads and object storage.

MediaError
├── CorruptMedia                    the bytes are empty, truncated, broken or of an unknown format
│   ├── ImageTooLarge               the image has more pixels than allowed
│   ├── UnsupportedMedia            a format that is not known, or not that of a result
│   ├── LosesFrames                 an animation, requested in a format that holds one frame
│   └── ArchiveTooLarge             the archive holds more than allowed (defined in `archives`)
├── FetchError
│   ├── UrlNotAllowed               not an http(s) URL, or one that leads to no public address
│   ├── UrlUnreachable              the server does not deliver the file
│   └── FileTooLarge                the file is larger than allowed
└── ObjectStoreError
    ├── ObjectStoreUnavailable      unreachable, overloaded or full: the same call may succeed later
    ├── ObjectStoreRequestRejected  wrong credentials, bucket or request: the same call will fail again
    ├── ObjectNotFound              no object has that key
    └── S3ServerNotStarted          the embedded S3 server did not start
"""

from __future__ import annotations


class MediaError(Exception):
    """Base class; the message defaults to the docstring of the raised class."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or type(self).__name__))


class CorruptMedia(MediaError):
    """The data is not a readable image, video or audio file."""


class ImageTooLarge(CorruptMedia):
    """The image has more pixels than allowed."""


class UnsupportedMedia(CorruptMedia):
    """The data is not of a supported output format."""


class LosesFrames(CorruptMedia):
    """The format does not hold all frames of the animation."""


class FetchError(MediaError):
    """The file could not be fetched."""


class UrlNotAllowed(FetchError):
    """The URL does not lead to a public server."""


class UrlUnreachable(FetchError):
    """The server does not deliver the file."""


class FileTooLarge(FetchError):
    """The file is too large."""


class ObjectStoreError(MediaError):
    """Object storage failed."""


class ObjectStoreUnavailable(ObjectStoreError):
    """Object storage is unreachable."""


class ObjectStoreRequestRejected(ObjectStoreError):
    """Object storage rejected the request."""


class ObjectNotFound(ObjectStoreError):
    """No object has this key."""


class S3ServerNotStarted(ObjectStoreError):
    """The embedded S3 server did not start."""
