"""A moderation policy that blocks words and patterns listed in the operator's file.

    words = ["a word", "or a phrase"]
    patterns = ['regular +expressions']

    [accounts.acct_5f2c]            # in addition to the lists above, for this account
    words = ["another word"]

A file that does not end in `.toml` has one word or phrase per line.
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

from orchestrator.fair_slots import run_to_end
from orchestrator.moderation.normalize import fold_text, normalize_words, replace_confusables
from orchestrator.moderation.policy import PolicyViolation


class WordListError(Exception):
    """The word list file is invalid; the message says why."""


class _WordListTable(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    words: list[str] = Field(default_factory=list)
    patterns: list[str] = Field(default_factory=list)


class _WordListFile(_WordListTable):
    accounts: dict[str, _WordListTable] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _WordRules:
    """Normalized words and compiled patterns of one table."""

    #: Name of the table, for the log.
    name: str
    phrases: tuple[str, ...]
    patterns: tuple[re.Pattern[str], ...]

    @classmethod
    def from_lists(cls, name: str, lists: _WordListTable) -> Self:
        """Normalize the words and compile the patterns. Raises WordListError."""
        phrases = tuple(normalize_words(word) for word in lists.words)
        for word, phrase in zip(lists.words, phrases, strict=True):
            if not phrase.strip():
                raise WordListError(f"{name}: {word!r} contains no letters or digits")
        return cls(name, phrases, tuple(_compile_pattern(name, pattern) for pattern in lists.patterns))

    def find_violation(self, text: str) -> str | None:
        """Return the rule that a text violates, or None."""
        row = normalize_words(text)
        for number, phrase in enumerate(self.phrases, 1):
            if phrase in row:
                return f"word {number} of {self.name}"
        readings = _text_variants(text) if self.patterns else ()
        for number, pattern in enumerate(self.patterns, 1):
            if any(pattern.search(reading) for reading in readings):
                return f"pattern {number} of {self.name}"
        return None


class WordListPolicy:
    """Blocks words and patterns, for all accounts or for one."""

    def __init__(self, default: _WordRules, by_account: Mapping[str, _WordRules]) -> None:
        self._default = default
        self._by_account = by_account

    @classmethod
    def load(cls, file: Path) -> Self:
        """Load the file. Raises WordListError."""
        try:
            text = file.read_text(encoding="utf-8")
            lists = (
                _WordListFile(**tomllib.loads(text))
                if file.suffix == ".toml"
                else _WordListFile(words=_parse_lines(text))
            )
        except (OSError, ValueError, TypeError) as error:
            raise WordListError(f"{file}: {_format_error(error)}") from error
        accounts = {
            id: _WordRules.from_lists(f"the lists of {id}", own) for id, own in lists.accounts.items()
        }
        return cls(_WordRules.from_lists("the lists for all accounts", lists), accounts)

    async def check(self, account_id: str, texts: Mapping[str, str]) -> PolicyViolation | None:
        # In a thread, since the operator's patterns may be slow.
        return await run_to_end(asyncio.to_thread(self._find_violation, account_id, texts))

    def _find_violation(self, account_id: str, texts: Mapping[str, str]) -> PolicyViolation | None:
        for rules in self._rules_for(account_id):
            for param, text in texts.items():
                rule = rules.find_violation(text)
                if rule:
                    return PolicyViolation(param=param, rule=rule)
        return None

    def _rules_for(self, account_id: str) -> Iterator[_WordRules]:
        yield self._default
        if account_id in self._by_account:
            yield self._by_account[account_id]


def _text_variants(text: str) -> tuple[str, ...]:
    """Return the folded text, with and without replaced look-alike letters: a pattern may match either."""
    plain = fold_text(text)
    return plain, replace_confusables(plain)


def _compile_pattern(name: str, pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern, re.IGNORECASE)
    except re.error as error:
        raise WordListError(f"{name}: {pattern!r} is not a valid regular expression: {error}") from error


def _parse_lines(text: str) -> list[str]:
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _format_error(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return str(error)
