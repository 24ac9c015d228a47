"""What PostgreSQL's errors mean for a call of the store."""

from __future__ import annotations

import psycopg

from orchestrator.errors import InvalidRequest, ServiceUnavailable

#: Another transaction was in the way (serialization failure, deadlock), and how often to repeat the own one.
_CONFLICTS = {"40001": 8, "40P01": 8}
#: Another transaction has just added the same key: the repeated operation finds it.
_ADDED_MEANWHILE = {"23505": 2}
#: Codes and classes of errors that pass: no connection, no resources (connections, memory, disk), shut down,
#: cancelled, a lock that is held for long, read-only, a standby, failing storage.
_PASSING = ("08", "53", "57P", "57014", "55P03", "55000", "25006", "25P03", "58")
#: The server takes writes elsewhere, or goes down: another connection may lead to another server.
_MOVED = ("08", "57P", "55000", "25006", "25P03")


def max_repeats(error: Exception) -> int:
    """Return how often to repeat a transaction that was rolled back with this error."""
    state = error.sqlstate if isinstance(error, psycopg.Error) else None
    return (_CONFLICTS | _ADDED_MEANWHILE).get(state or "", 0)


def is_passing(error: Exception) -> bool:
    """Whether the same call may succeed later."""
    if isinstance(error, MemoryError):
        return True
    if not isinstance(error, psycopg.Error):
        return False
    if error.sqlstate is None:  # the connection was lost, or could not be made
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return error.sqlstate.startswith(_PASSING)


def ends_connection(error: Exception) -> bool:
    """Whether the connection is of no further use."""
    if not isinstance(error, psycopg.Error):
        return False
    return error.sqlstate.startswith(_MOVED) if error.sqlstate else is_passing(error)


def describe(error: Exception) -> str:
    """Return an error on one line. PostgreSQL's errors never hold the password."""
    return " ".join(str(error).split()) or type(error).__name__


def translate_error(error: Exception) -> Exception:
    """Return the error of the store for one that passes or that the caller caused, others unchanged."""
    if is_passing(error) or getattr(error, "sqlstate", None) in _CONFLICTS:
        return unavailable(error)
    if isinstance(error, UnicodeEncodeError) or (
        isinstance(error, psycopg.DataError) and error.sqlstate is None and "NUL" in str(error)
    ):
        invalid = InvalidRequest("Text must be valid Unicode without NUL.", code="invalid_unicode")
        invalid.__cause__ = error
        return invalid
    return error


def unavailable(cause: Exception | None = None) -> ServiceUnavailable:
    """Return the error for a database that cannot be used now."""
    error = ServiceUnavailable(
        "The database cannot be reached or written; retry later.", code="store_unavailable", retry_after=5
    )
    error.__cause__ = cause
    return error
