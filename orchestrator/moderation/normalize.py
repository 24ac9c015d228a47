"""Normalize texts for word lists: fold case, invisible characters and look-alike letters."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from importlib import resources
from itertools import chain

#: Scripts without spaces between words: each character counts as a word.
_UNSPACED_SCRIPTS = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff])"
)
#: Invisible letters and marks that are not of category Cf.
_INVISIBLE_CHARACTERS = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\uffa0"
    + "".join(map(chr, chain(range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0))))
)
#: Combining marks that remain after NFKC, such as strokes through letters.
_COMBINING_MARKS = re.compile("[\u0300-\u036f\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff]+")
#: First letters of the Unicode categories of word characters, and the category that counts as a word.
_WORD_CATEGORIES, _SYMBOL_CATEGORY = frozenset("LNM"), "So"


def _load_confusables() -> dict[int, str]:
    text = resources.files(__package__).joinpath("confusables.toml").read_text(encoding="utf-8")
    return {ord(taken): letter for letter, others in tomllib.loads(text).items() for taken in others}


_CONFUSABLES = _load_confusables()


def fold_text(text: str) -> str:
    """Fold case and compatibility forms (NFKC), and remove invisible characters and combining marks."""
    seen = "".join(
        letter
        for letter in text
        if unicodedata.category(letter) != "Cf" and letter not in _INVISIBLE_CHARACTERS
    )
    even = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", seen).casefold())
    return _COMBINING_MARKS.sub("", even)


def replace_confusables(text: str) -> str:
    """Replace look-alike letters in a folded text, such as Cyrillic ones, by the letters they resemble."""
    return text.translate(_CONFUSABLES)


def normalize_words(text: str) -> str:
    """Return the words of a text with one space before, between and after them.

    A text contains a phrase if `normalize_words(text)` contains `normalize_words(phrase)`.
    """
    spaced = _UNSPACED_SCRIPTS.sub(r" \1 ", replace_confusables(fold_text(text)))
    return f" {' '.join(''.join(map(_separate_character, spaced)).split())} "


def _separate_character(character: str) -> str:
    category = unicodedata.category(character)
    if category == _SYMBOL_CATEGORY:
        return f" {character} "
    return character if category[0] in _WORD_CATEGORIES else " "
