"""Text of logs that cannot be mistaken for other lines or change a terminal."""

from __future__ import annotations

import logging
import re

#: Starts the second and further lines of a record: its traceback. No record begins so.
CONTINUATION = "  | "
_LINE_END = re.compile(r"\r\n|\r|\n")


def escape_controls(text: str) -> str:
    r"""Return the text on one line, with each character that is not printable written like `\n` or `\x1b`.

    These are control characters (C0, C1, DEL), line and paragraph separators, characters that change the
    direction of text or have no width, unusual spaces, lone surrogates and unassigned characters.
    """
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escape(character) for character in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def error_text(error: BaseException) -> str:
    """Return what an error says, or its type: a timeout of asyncio says nothing."""
    return str(error) or type(error).__name__


def split_lines(text: str) -> list[str]:
    """Return the escaped lines of a text with line ends of any system; empty ones are left out."""
    return [escape_controls(line) for line in _LINE_END.split(text) if line]


class EscapingFormatter(logging.Formatter):
    """One line per record; a traceback follows on lines that begin with CONTINUATION."""

    def format(self, record: logging.LogRecord) -> str:
        line = escape_controls(f"{self.format_head(record)}{self.format_text(record)}")
        trace = split_lines(self.format_trace(record))
        return "\n".join([line, *(f"{CONTINUATION}{text}" for text in trace)])

    def format_head(self, record: logging.LogRecord) -> str:
        """Return what comes before the message."""
        return f"{self.formatTime(record)} {record.levelname} {record.name}: "

    def format_text(self, record: logging.LogRecord) -> str:
        """Return the message. One whose arguments do not fit is returned without them."""
        try:
            return record.getMessage()
        except (TypeError, ValueError, LookupError) as error:
            return f"{record.msg} [{len(record.args or ())} argument(s) do not fit: {type(error).__name__}]"

    def format_trace(self, record: logging.LogRecord) -> str:
        """Return the traceback and the stack of the record; empty if it has none."""
        trace = self.formatException(record.exc_info) if record.exc_info else record.exc_text or ""
        stack = self.formatStack(record.stack_info) if record.stack_info else ""
        return "\n".join(part for part in (trace, stack) if part)
