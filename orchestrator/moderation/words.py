"""The policy that needs nobody: lists of words and patterns in the operator's own file.

    words = ["a word", "or several in a row"]
    patterns = ['regular +expressions']

    [accounts.acct_5f2c]            # beside the lists above, for this account
    words = ["another word"]

A file that does not end in `.toml` has a word, or words in a row, on each line.
"""

from __future__ import annotations

import asyncio
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from orchestrator.moderation.policy import Finding
from orchestrator.moderation.reading import folded, unmasked, words


class WordFileError(Exception):
    """The file of words can not be used; the text says why."""


class _Lists(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    words: list[str] = Field(default_factory=list)
    patterns: list[str] = Field(default_factory=list)


class _File(_Lists):
    accounts: dict[str, _Lists] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Rules:
    """One pair of lists, ready to be applied."""

    #: Whose lists they are, for the log.
    name: str
    phrases: tuple[str, ...]
    patterns: tuple[re.Pattern[str], ...]

    @classmethod
    def of(cls, name: str, lists: _Lists) -> Self:
        """Raises WordFileError."""
        phrases = tuple(words(word) for word in lists.words)
        for word, phrase in zip(lists.words, phrases, strict=True):
            if not phrase.strip():
                raise WordFileError(f"{name}: {word!r} has no letters")
        return cls(name, phrases, tuple(_compiled(name, pattern) for pattern in lists.patterns))

    def broken_by(self, text: str) -> str | None:
        """The rule that a text breaks."""
        row = words(text)
        for number, phrase in enumerate(self.phrases, 1):
            if phrase in row:
                return f"word {number} of {self.name}"
        readings = _readings(text) if self.patterns else ()
        for number, pattern in enumerate(self.patterns, 1):
            if any(pattern.search(reading) for reading in readings):
                return f"pattern {number} of {self.name}"
        return None


class WordLists:
    """Words and patterns that no account, or one account, may use."""

    def __init__(self, everybody: _Rules, accounts: Mapping[str, _Rules]) -> None:
        self._everybody = everybody
        self._accounts = accounts

    @classmethod
    def load(cls, file: Path) -> Self:
        """Raises WordFileError."""
        try:
            text = file.read_text(encoding="utf-8")
            lists = _File(**tomllib.loads(text)) if file.suffix == ".toml" else _File(words=_lines(text))
        except (OSError, ValueError, TypeError) as error:
            raise WordFileError(f"{file}: {_reason(error)}") from error
        accounts = {id: _Rules.of(f"the lists of {id}", own) for id, own in lists.accounts.items()}
        return cls(_Rules.of("the lists for everybody", lists), accounts)

    async def check(self, account_id: str, texts: Mapping[str, str]) -> Finding | None:
        # In a thread: a pattern is the operator's own, and may take its time.
        return await asyncio.to_thread(self._check, account_id, texts)

    def _check(self, account_id: str, texts: Mapping[str, str]) -> Finding | None:
        for rules in self._rules(account_id):
            for param, text in texts.items():
                rule = rules.broken_by(text)
                if rule:
                    return Finding(param=param, rule=rule)
        return None

    def _rules(self, account_id: str) -> Iterator[_Rules]:
        yield self._everybody
        if account_id in self._accounts:
            yield self._accounts[account_id]


def _readings(text: str) -> tuple[str, ...]:
    """A pattern may be written for the letters themselves, or for those they are taken for."""
    plain = folded(text)
    return plain, unmasked(plain)


def _compiled(name: str, pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern, re.IGNORECASE)
    except re.error as error:
        raise WordFileError(f"{name}: {pattern!r} is no regular expression: {error}") from error


def _lines(text: str) -> list[str]:
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return str(error)
