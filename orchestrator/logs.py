"""The log of this process: escaped text, or one JSON object per line, without secrets and whole prompts."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from comfy_instances.log_text import EscapingFormatter, escape_controls
from orchestrator.tracing import current_span

if TYPE_CHECKING:
    from orchestrator.settings import LogFormat

log = logging.getLogger(__name__)

#: Longer texts of callers, such as prompts in an error of an instance, are cut.
MAX_MESSAGE, MAX_TRACE = 2000, 16_000
#: Loggers that would log every request or message in addition to the service itself.
NOISY_LOGGERS = ("aiohttp.access", "urllib3", "websockets", "PIL")
HIDDEN = "[hidden]"
#: Shorter secrets may be parts of ordinary words.
MIN_HIDDEN = 8

_request: ContextVar[tuple[asyncio.Task[object] | None, str] | None] = ContextVar("request", default=None)
#: Secrets that have a form by which they can be recognized: API keys, signing secrets, tokens in headers,
#: passwords in URLs, and the parameters of URLs that grant access.
_SECRET = re.compile(
    r"\bpk-[A-Za-z0-9_-]{8,}"
    r"|\bwhsec_[A-Za-z0-9+/=_-]{8,}"
    r"|(?<=://)[^\s/@:]*:[^\s/@]+(?=@)"
    r"|(?i:(?<=bearer )|(?<=basic ))[A-Za-z0-9+/=._~-]{8,}"
    r"|(?i:(?<=x-amz-signature=)|(?<=x-amz-credential=)|(?<=x-amz-security-token=)|(?<=signature=)"
    r"|(?<=token=)|(?<=api_key=)|(?<=apikey=)|(?<=access_token=)|(?<=password=)|(?<=secret=))[^\s&'\"]+"
)
_secrets: set[str] = set()


def hide_secret(secret: str) -> None:
    """Replace this secret wherever a log line contains it. A very short one is not replaced."""
    if len(secret) >= MIN_HIDDEN:
        _secrets.add(secret)


def hide_secrets_in(text: str) -> str:
    """Return the text without the known secrets, and without what has the form of one."""
    for secret in tuple(_secrets):
        text = text.replace(secret, HIDDEN)
    return _SECRET.sub(HIDDEN, text)


@contextmanager
def log_request_id(request_id: str) -> Iterator[None]:
    """Log the id of a request with what its task, and threads that work for it, log in the block."""
    token = _request.set((asyncio.current_task(), request_id))
    try:
        yield
    finally:
        _request.reset(token)


def _current_request_id() -> str | None:
    """Return the id of the request that is handled; None in tasks that it started, which may serve others."""
    task, request_id = _request.get() or (None, None)
    try:
        return request_id if asyncio.current_task() is task else None
    except RuntimeError:  # a thread without an event loop
        return request_id


def _current_trace() -> dict[str, str]:
    """Return the ids by which a viewer of traces finds the log line."""
    found = current_span()
    return {} if found is None else {"trace_id": found.trace_id, "span_id": found.span_id}


class TextFormatter(EscapingFormatter):
    """Time, level, logger and message on one line; without secrets."""

    def format_text(self, record: logging.LogRecord) -> str:
        """Return the message without secrets, cut, with the id of the request or trace where it has none."""
        text, request_id = _cut(super().format_text(record), MAX_MESSAGE), _current_request_id()
        if request_id is None and (found := current_span()) is not None:
            request_id = found.trace_id
        return f"{text} [{request_id}]" if request_id and request_id not in text else text

    def format_trace(self, record: logging.LogRecord) -> str:
        """Return the traceback without secrets, cut."""
        return _cut(super().format_trace(record), MAX_TRACE)


class JsonFormatter(TextFormatter):
    """One JSON object on one line: time, level, logger, message; request_id and exception where known."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": _cut(EscapingFormatter.format_text(self, record), MAX_MESSAGE),
            "request_id": _current_request_id(),
            **_current_trace(),
            "exception": self.format_trace(record) or None,
        }
        # ASCII only: no reader takes a separator of Unicode for the end of a line.
        return json.dumps({name: value for name, value in fields.items() if value is not None})


class LogHandler(logging.StreamHandler[TextIO]):
    """Writes to standard error. A record that cannot be written is dropped without a traceback."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Do nothing: a full disk or a closed pipe must not stop the service, and `record` is not shown."""


def configure_logging(level: str, log_format: LogFormat, stream: TextIO | None = None) -> None:
    """Let every logger, warning and uncaught exception of this process write in one format.

    Handlers that libraries have set are removed.
    """
    handler = LogHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    for name in [None, *logging.Logger.manager.loggerDict]:
        logger = logging.getLogger(name)
        for other in list(logger.handlers):
            logger.removeHandler(other)
        logger.propagate = True
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(level)
    for name in NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread
    sys.unraisablehook = _log_unraisable


def logs_json() -> bool:
    """Return whether the log of this process is one of JSON objects."""
    return any(isinstance(handler.formatter, JsonFormatter) for handler in logging.getLogger().handlers)


def log_fatal_error(message: str) -> None:
    """Log the error that ends this process."""
    log.critical("%s", message)


def configure_command_logging() -> None:
    """Let warnings of a command, which logs nothing else, appear on standard error as escaped messages."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_MessageFormatter())


class _MessageFormatter(TextFormatter):
    def format_head(self, record: logging.LogRecord) -> str:
        return ""


def printable(text: str) -> str:
    """Return text for a terminal: on one line and without control characters."""
    return escape_controls(" ".join(text.split()))


def _cut(text: str, limit: int) -> str:
    # A text of megabytes is not searched; what is cut here is far beyond the limit.
    text = hide_secrets_in(text[: 4 * limit]) + text[4 * limit :]
    return text if len(text) <= limit else f"{text[:limit]}... [{len(text) - limit} more characters]"


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    log.critical("uncaught exception", exc_info=(kind, error, trace))


def _log_uncaught_in_thread(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_value is not None:
        trace = (arguments.exc_type, arguments.exc_value, arguments.exc_traceback)
        log.critical("uncaught exception in thread %s", arguments.thread, exc_info=trace)


def _log_unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    # Not the object itself: its text may hold anything.
    error = unraisable.exc_value
    trace = None if error is None else (unraisable.exc_type, error, unraisable.exc_traceback)
    log.error("exception ignored in %s", type(unraisable.object).__name__, exc_info=trace)
