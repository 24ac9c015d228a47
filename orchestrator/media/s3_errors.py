"""What the `minio` SDK and urllib3 raise, in our words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from urllib3.exceptions import HTTPError

from orchestrator.media.errors import ObjectMissing, StoreError, StoreRefused, StoreUnavailable

_MISSING = frozenset({"NoSuchKey", "NoSuchObject"})
_PASSING = frozenset(
    {
        "InternalError",
        "OperationAborted",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "TooManyRequests",
    }
)
#: The server can not do this at all (the SDK says the second where a HEAD is answered with 501).
_LASTING = frozenset({"NotImplemented", "MethodNotAllowed"})


@contextmanager
def translated() -> Iterator[None]:
    """Raises StoreError and its kin for whatever the SDK raises inside."""
    try:
        yield
    except S3Error as error:
        raise _of_s3(error) from error
    except (InvalidResponseError, ServerError, HTTPError, OSError) as error:
        raise StoreUnavailable(f"the object store can not be reached: {error}") from error
    except (MinioException, ValueError) as error:
        raise StoreRefused(f"the object store can not be used like this: {error}") from error


def _of_s3(error: S3Error) -> StoreError:
    code, message = str(error.code), f"{error.code}: {error.message}"
    if code in _MISSING:
        return ObjectMissing(message)
    if code in _PASSING or (error.response.status >= 500 and code not in _LASTING):
        return StoreUnavailable(message)
    return StoreRefused(message)
