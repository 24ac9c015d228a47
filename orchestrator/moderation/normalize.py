"""How a policy reads a text: as a person would who does not look at code points."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from importlib import resources
from itertools import chain

#: Scripts that write words without spaces: each of their characters is a word of its own.
_UNSPACED_SCRIPTS = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff])"
)
#: Letters and marks that are never seen, beyond those of category Cf.
_INVISIBLE_CHARACTERS = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\uffa0"
    + "".join(map(chr, chain(range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0))))
)
#: Accents that no letter of its own includes: strokes through letters, piles of marks.
_COMBINING_MARKS = re.compile("[\u0300-\u036f\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff]+")
#: What words are made of, by the first letter of its category, and what is a word of its own.
_WORD_CATEGORIES, _SYMBOL_CATEGORY = frozenset("LNM"), "So"


def _load_confusables() -> dict[int, str]:
    text = resources.files(__package__).joinpath("confusables.toml").read_text(encoding="utf-8")
    return {ord(taken): letter for letter, others in tomllib.loads(text).items() for taken in others}


_CONFUSABLES = _load_confusables()


def fold_text(text: str) -> str:
    """Without case, without letters of other shapes (NFKC), without what can not be seen."""
    seen = "".join(
        letter
        for letter in text
        if unicodedata.category(letter) != "Cf" and letter not in _INVISIBLE_CHARACTERS
    )
    even = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", seen).casefold())
    return _COMBINING_MARKS.sub("", even)


def replace_confusables(text: str) -> str:
    """A folded text with the letters that each of its letters is taken for."""
    return text.translate(_CONFUSABLES)


def normalize_words(text: str) -> str:
    """The words of a text with one space before, between and after them.

    A phrase is in a text where `words(phrase)` is in `words(text)`.
    """
    spaced = _UNSPACED_SCRIPTS.sub(r" \1 ", replace_confusables(fold_text(text)))
    return f" {' '.join(''.join(map(_separate_character, spaced)).split())} "


def _separate_character(character: str) -> str:
    category = unicodedata.category(character)
    if category == _SYMBOL_CATEGORY:
        return f" {character} "
    return character if category[0] in _WORD_CATEGORIES else " "
