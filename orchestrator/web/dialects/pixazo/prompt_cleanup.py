"""The clean-up of prompts that two endpoints document: harmless phrases that content moderation misreads.

The document: "The prompt is automatically sanitized to avoid content moderation false positives (e.g.,
"fingers brushing lips" is converted to "hand near face")." What is replaced has a harmless meaning; what a
content policy should refuse stays as it is.
"""

from __future__ import annotations

import re

#: Harmless phrases by what replaces them. `*` stands for one word such as "her".
REPLACEMENTS: dict[str, tuple[str, ...]] = {
    "hand near face": (
        "fingers brushing lips",
        "finger brushing lips",
        "fingers brushing * lips",
        "finger brushing * lips",
        "fingers touching lips",
        "fingers touching * lips",
        "finger touching lips",
        "finger touching * lips",
        "fingers on lips",
        "fingers on * lips",
        "finger on lips",
        "finger on * lips",
    ),
    "unaided eye": ("naked eye",),
    "unaided eyes": ("naked eyes",),
    "open flame": ("naked flame",),
    "bare bulb": ("naked bulb", "naked light bulb"),
    "meteor": ("shooting star",),
    "meteors": ("shooting stars",),
    "portrait photo": ("head shot", "headshot"),
    "portrait photos": ("head shots", "headshots"),
    "small glass": ("shot glass",),
    "red moon": ("blood moon",),
    "red-fleshed orange": ("blood orange",),
    "red-fleshed oranges": ("blood oranges",),
    "chicken fillet": ("chicken breast",),
    "chicken fillets": ("chicken breasts",),
    "orca": ("killer whale",),
    "orcas": ("killer whales",),
}
#: What `*` stands for.
_ANY_WORD = r"(?:a|an|the|her|his|their|its|my|your|both|closed|parted|red|soft)"


def _to_pattern(phrase: str) -> str:
    return r"\s+".join(_ANY_WORD if word == "*" else re.escape(word) for word in phrase.split())


_REPLACEMENT_BY_PHRASE = {
    phrase: replacement for replacement, phrases in REPLACEMENTS.items() for phrase in phrases
}
#: Longer phrases first, so that none hides behind a part of it.
_PHRASES = sorted(_REPLACEMENT_BY_PHRASE, key=len, reverse=True)
_PATTERN = re.compile(
    rf"(?<!\w)(?:{'|'.join(f'({_to_pattern(phrase)})' for phrase in _PHRASES)})(?!\w)", re.IGNORECASE
)


def clean_prompt(prompt: str) -> tuple[str, tuple[str, ...]]:
    """Return the prompt as the model gets it, and a sentence for each phrase that was replaced."""
    notes: dict[str, None] = {}

    def replace(found: re.Match[str]) -> str:
        phrase = _PHRASES[(found.lastindex or 1) - 1]
        replacement = _REPLACEMENT_BY_PHRASE[phrase]
        notes[f'`prompt` was cleaned up: "{found[0]}" became "{replacement}"'] = None
        return replacement.capitalize() if found[0][:1].isupper() else replacement

    return _PATTERN.sub(replace, prompt), tuple(notes)
