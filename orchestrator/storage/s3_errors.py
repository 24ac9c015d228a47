"""Translate errors of the `minio` SDK and urllib3 to ObjectStoreError."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from urllib3.exceptions import HTTPError

from orchestrator.media.errors import (
    ObjectNotFound,
    ObjectStoreError,
    ObjectStoreRequestRejected,
    ObjectStoreUnavailable,
)

_NOT_FOUND_CODES = frozenset({"NoSuchKey", "NoSuchObject"})
_TRANSIENT_CODES = frozenset(
    {
        "InternalError",
        "OperationAborted",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "TooManyRequests",
    }
)
#: The server does not support the operation (the SDK reports the second for a 501 response to HEAD).
_PERMANENT_CODES = frozenset({"NotImplemented", "MethodNotAllowed"})
_CODES_WITHOUT_BODY = {
    403: "AccessDenied",
    404: "NoSuchKey",
    429: "TooManyRequests",
    501: "NotImplemented",
}


@contextmanager
def translate_s3_errors() -> Iterator[None]:
    """Raise an ObjectStoreError for any error that the SDK raises inside."""
    try:
        yield
    except S3Error as error:
        raise _from_s3_error(error) from error
    except (InvalidResponseError, ServerError, HTTPError, OSError) as error:
        raise ObjectStoreUnavailable(f"object storage is unreachable: {error}") from error
    except (MinioException, ValueError) as error:
        raise ObjectStoreRequestRejected(f"object storage rejects the request: {error}") from error


def _from_s3_error(error: S3Error) -> ObjectStoreError:
    return _from_code(error.response.status, str(error.code), f"{error.code}: {error.message}")


def from_response(status: int, code: str, message: str, *, has_body: bool) -> ObjectStoreError:
    """Return the error for a response that is no success.

    `code` and `message` are those of its body, empty if it has none or not that of S3. Responses to HEAD have
    no body: `has_body` is False.
    """
    if not has_body:
        code, message = _CODES_WITHOUT_BODY.get(status, "UnknownError"), f"object storage answers {status}"
    if code:
        return _from_code(status, code, f"{code}: {message}")
    # Another server's, such as that of a proxy whose storage is gone.
    return ObjectStoreUnavailable(f"object storage answers {status}")


def _from_code(status: int, code: str, message: str) -> ObjectStoreError:
    if code in _NOT_FOUND_CODES:
        return ObjectNotFound(message)
    if code in _TRANSIENT_CODES or (status >= 500 and code not in _PERMANENT_CODES):
        return ObjectStoreUnavailable(message)
    return ObjectStoreRequestRejected(message)
