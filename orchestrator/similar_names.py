"""Which known names a caller may have meant by an unknown one, for error messages."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

#: How alike two names must be, from 0 to 1: one wrong, missing or swapped letter among five is enough.
MIN_LIKENESS = 0.7

_WORD = re.compile(r"[a-z]+|[0-9]+(?:\.[0-9]+)*")


def find_similar(name: str, known: Iterable[str], limit: int = 1) -> list[str]:
    """Return the known names that may be meant, the likeliest first; nothing if none is similar.

    Names are similar if they are spelt almost alike, or if one contains every word of the other, as
    `steps_count` contains `steps`.
    """
    names = list(known)
    words = _words(name)
    related = [each for each in names if _share_words(words, _words(each))]
    related.sort(key=lambda each: abs(len(each) - len(name)))
    return list(dict.fromkeys([*find_misspelt(name, names, limit), *related]))[:limit]


def find_misspelt(name: str, known: Iterable[str], limit: int = 1) -> list[str]:
    """Return the known names that are spelt almost like a name, the likeliest first."""
    by_form: dict[str, str] = {}
    for each in known:
        by_form.setdefault(_form(each), each)
    alike = get_close_matches(_form(name), by_form, n=limit, cutoff=MIN_LIKENESS)
    return [by_form[each] for each in alike]


def _words(name: str) -> set[str]:
    return set(_WORD.findall(_form(name)))


def _form(name: str) -> str:
    return name.strip().lower().replace("_", "-")


def _share_words(first: set[str], second: set[str]) -> bool:
    """Return whether one of two names contains every word of the other; single letters do not count."""
    fewer, more = sorted((first, second), key=len)
    return fewer <= more and any(len(word) > 2 for word in fewer)
