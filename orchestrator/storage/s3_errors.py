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
    code, message = str(error.code), f"{error.code}: {error.message}"
    if code in _NOT_FOUND_CODES:
        return ObjectNotFound(message)
    if code in _TRANSIENT_CODES or (error.response.status >= 500 and code not in _PERMANENT_CODES):
        return ObjectStoreUnavailable(message)
    return ObjectStoreRequestRejected(message)
