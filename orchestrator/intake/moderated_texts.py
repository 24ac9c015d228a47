"""The texts of a request that moderation checks: prompts and captions, but not what the result must avoid."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from orchestrator.catalog import CatalogError, Model
from orchestrator.catalog.parameters.values import TextParameter

#: Names of parameters with words to avoid, such as `negative_prompt`, `negative_2` and `text_neg`.
_NEGATIVE_NAME = re.compile(r"(?:^|_)neg(?:ative)?(?:_|$)")
#: A weight below zero, as in `(word:-1.2)`: the result is drawn towards the word.
_NEGATIVE_WEIGHT = re.compile(r":\s*-\s*[0-9.]")
#: Below this guidance scale a sampler draws what the negative prompt says: at 0 nothing else.
_MIN_AVOIDING_SCALE = 1.0


def moderated_texts(model: Model, params: Mapping[str, Any], captions: Mapping[str, str]) -> dict[str, str]:
    """Return the texts that the result may show, by parameter; `captions` are those of datasets.

    Words in a negative prompt say what to avoid, so they may be words that the content policy refuses in a
    prompt. They are checked only where the result may show them: with a guidance below 1 or a weight below 0.
    """
    texts = {
        name: str(params[name])
        for name, spec in model.parameters.items()
        if isinstance(spec, TextParameter) and params.get(name)
    }
    negative = {
        name
        for name, text in texts.items()
        if _NEGATIVE_NAME.search(name) and not _NEGATIVE_WEIGHT.search(text)
    }
    if negative and not _draws_negative_prompt(model, params):
        texts = {name: text for name, text in texts.items() if name not in negative}
    return {**texts, **captions}


def _draws_negative_prompt(model: Model, params: Mapping[str, Any]) -> bool:
    """Whether a sampler of the graph has a guidance scale below 1.

    Most graphs raise a lower scale to 1, so the graph is asked, not the parameter.
    """
    try:
        graph = model.render_graph({**params, "seed": params.get("seed") or 0}, filename_prefix="moderation")
    except CatalogError:
        return True
    return any(
        name.startswith("cfg") and isinstance(value, int | float) and value < _MIN_AVOIDING_SCALE
        for node in graph.values()
        for name, value in node["inputs"].items()
    )
