"""The error for a parameter that a model does not have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.errors import InvalidRequest
from orchestrator.similar_names import find_misspelt, find_similar

#: Most parameters that an error lists.
MAX_LISTED_PARAMETERS = 60

#: Names of the length of a video in seconds, and the parameters that make it.
_LENGTHS = frozenset({"duration", "seconds", "length", "duration_seconds"})
_FRAMES = frozenset({"num_frames", "fps"})


def unknown_parameter_error(
    model_id: str, known: Sequence[str], name: str, synonyms: Mapping[str, str]
) -> InvalidRequest:
    """Return the error that names similar parameters, and all that the model has.

    `synonyms` are other names of parameters, which the caller may have misspelt.
    """
    known = list(dict.fromkeys(known))
    misspelt = find_misspelt(name, (other for other, own in synonyms.items() if own in known))
    nearest = find_similar(name, known) or [synonyms[other] for other in misspelt]
    hint = f"; did you mean `{nearest[0]}`?" if nearest else "."
    if name in _LENGTHS and _FRAMES.issubset(known):
        hint = "; `num_frames` and `fps` set the length of the video."
    listed = ", ".join(known[:MAX_LISTED_PARAMETERS])
    more = ", ..." if len(known) > MAX_LISTED_PARAMETERS else ""
    # Shortened, since the name may be any text that a caller sent.
    shown = name[:60]
    return InvalidRequest(
        f"Model {model_id} has no parameter `{shown}`{hint} Its parameters are: {listed}{more}",
        code="unknown_parameter",
        param=shown,
    )
