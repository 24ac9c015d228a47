"""The log: one record per line whatever it says, without secrets, as text or as JSON."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import threading

import pytest

from comfy_instances.log_text import CONTINUATION, EscapingFormatter, escape_controls
from orchestrator.logs import (
    HIDDEN,
    MAX_MESSAGE,
    JsonFormatter,
    LogHandler,
    TextFormatter,
    hide_secret,
    log_request_id,
)

#: What ends a line for some reader, moves a cursor, or changes the direction of text.
HOSTILE = [
    *map(chr, range(0x20)),
    *map(chr, range(0x7F, 0xA0)),
    *"\u061c\u200b\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff\u00ad",
    "\ud800",
    "\udcff",
    "\U000e0041",
]
FORGED = "2026-01-01 00:00:00,000 CRITICAL orchestrator: all is lost"
FORMATTERS = {"text": TextFormatter, "json": JsonFormatter, "child": EscapingFormatter}


class Log:
    """A logger with its own handler, and what it has written."""

    def __init__(self, log_format: str) -> None:
        self.stream = io.StringIO()
        handler = LogHandler(self.stream)
        handler.setFormatter(FORMATTERS[log_format]())
        self.logger = logging.Logger("orchestrator.test")
        self.logger.addHandler(handler)

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def records(self) -> list[str]:
        """The lines that begin a record, for a reader that takes every separator for the end of a line."""
        return [line for line in self.text.splitlines() if not line.startswith(CONTINUATION)]


@pytest.fixture(params=FORMATTERS)
def any_log(request: pytest.FixtureRequest) -> Log:
    return Log(request.param)


@pytest.fixture(params=("text", "json"))
def our_log(request: pytest.FixtureRequest) -> Log:
    return Log(request.param)


@pytest.mark.parametrize("character", HOSTILE, ids=ascii)
def test_escapes_characters_that_are_not_printable(character: str) -> None:
    escaped = escape_controls(f"a{character}b")
    assert escaped.isascii()
    assert escaped.isprintable()
    assert (escaped[:2], escaped[-1]) == ("a\\", "b")


def test_leaves_printable_text_of_all_languages_as_it_is() -> None:
    text = "café Ünïcode 絵文字 🦊 עברית a\\b"
    assert escape_controls(text) == text


@pytest.mark.parametrize("character", HOSTILE, ids=ascii)
def test_a_message_is_one_line(any_log: Log, character: str) -> None:
    any_log.logger.info("GET /%s", f"x{character}{FORGED}")
    assert len(any_log.records) == 1
    assert any_log.text.endswith("\n")
    assert any_log.text[:-1].isprintable()


def test_names_of_loggers_and_levels_cannot_begin_a_line(any_log: Log) -> None:
    record = logging.LogRecord(f"x\n{FORGED}", 20, "", 0, "text", None, None)
    record.levelname = "INFO\x1b[2J"
    any_log.logger.handle(record)
    assert len(any_log.records) == 1
    assert "\x1b" not in any_log.text


def test_exceptions_cannot_begin_a_line(any_log: Log) -> None:
    try:
        try:
            raise ValueError(f"first\n{FORGED}\r{FORGED}\x85{FORGED}\u2028{FORGED}")
        except ValueError as error:
            error.add_note(f"note\n{FORGED}\x1b[1A")
            raise RuntimeError("second") from error
    except RuntimeError:
        any_log.logger.exception("failed", stack_info=True)
    assert len(any_log.records) == 1
    assert "\x1b" not in any_log.text
    assert "ValueError: first" in any_log.text
    assert "RuntimeError: second" in any_log.text
    assert "test_logs.py" in any_log.text


def test_a_message_with_wrong_arguments_is_logged_and_raises_nothing(
    any_log: Log, capsys: pytest.CaptureFixture[str]
) -> None:
    any_log.logger.info("%d of %d\n", "x\nforged")
    assert len(any_log.records) == 1
    assert "do not fit" in any_log.text
    assert capsys.readouterr().err == ""


def test_a_stream_that_fails_costs_the_record_only(capsys: pytest.CaptureFixture[str]) -> None:
    log = Log("text")
    log.stream.close()
    log.logger.error("secret text")
    assert capsys.readouterr().err == ""


def test_json_has_one_object_per_line_with_all_fields() -> None:
    log = Log("json")
    log.logger.warning("quota of %s\n%s", "Ada", "絵文字")
    (document,) = [json.loads(line) for line in log.text.split("\n") if line]
    time = document.pop("time")
    assert time.endswith("+00:00")
    assert document == {"level": "WARNING", "logger": "orchestrator.test", "message": "quota of Ada\n絵文字"}
    try:
        raise KeyError("k")
    except KeyError:
        log.logger.exception("failed")
    assert "KeyError: 'k'" in json.loads(log.text.splitlines()[-1])["exception"]


@pytest.mark.parametrize(
    ("template", "secret"),
    [
        ("key {} is unknown", "pk-Abcdefgh12345678_x"),
        ("signed with {}", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw=="),
        ("Authorization: Bearer {}", "abcDEF123.456-x"),
        ("authorization: basic {}", "dXNlcjpwYXNzd29yZA=="),
        ("cannot connect to redis://{}@host:6379/0", "user:hunter2"),
        ("cannot connect to redis://{}@host:6379/0", ":hunter2"),
        ("GET https://s3/b/k?X-Amz-Credential=a&X-Amz-Signature={}&x=1", "0123456789abcdef"),
        ("GET https://civitai.com/x?token={}", "0123456789"),
        ("the admin token is {}", "registered-secret-of-the-test"),
    ],
)
def test_secrets_are_hidden_in_messages_arguments_and_exceptions(
    our_log: Log, template: str, secret: str
) -> None:
    hide_secret("registered-secret-of-the-test")
    text = template.format(secret)
    our_log.logger.info(text)
    our_log.logger.info("%s", text)
    try:
        raise ValueError(text)
    except ValueError:
        our_log.logger.exception("failed")
    assert secret not in our_log.text
    assert our_log.text.count(HIDDEN) >= 3


def test_long_texts_are_cut(our_log: Log) -> None:
    prompt = "a fox in the snow " * 100_000
    our_log.logger.info("rejected: %s", prompt)
    assert len(our_log.text) < MAX_MESSAGE + 300
    assert "more characters]" in our_log.text


def test_a_secret_at_the_place_of_the_cut_is_hidden(our_log: Log) -> None:
    secret = "registered-secret-of-the-test"
    hide_secret(secret)
    for position in range(MAX_MESSAGE - len(secret) - 2, MAX_MESSAGE + 2):
        our_log.logger.info("x" * position + secret)
    assert "registered" not in our_log.text


async def test_the_request_id_is_logged_by_its_task_and_its_threads_only(our_log: Log) -> None:
    def log_line(name: str) -> None:
        our_log.logger.info(name)

    async def log_later() -> None:
        our_log.logger.info("task")

    with log_request_id("req_1"):
        log_line("handler")
        await asyncio.to_thread(log_line, "thread")
        # It may serve other requests too.
        await asyncio.create_task(log_later())
    log_line("after")
    other = threading.Thread(target=log_line, args=("other",))
    other.start()
    other.join()
    named = {name: "req_1" in line for line in our_log.records for name in NAMES if name in line}
    assert named == {"handler": True, "thread": True, "task": False, "after": False, "other": False}


NAMES = ("handler", "thread", "task", "after", "other")
