"""Errors and warnings that name a model as the request did, not by the id of the one that serves it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from orchestrator.catalog import Catalog
from orchestrator.errors import InvalidRequest

#: What follows in a message are names of other models to use.
_SUGGESTION = "use one of: "


def name_model(text: str, name: str | None, catalog: Catalog, shown: str | None = None) -> str:
    """Return a sentence with the requested name in place of the ids of the models that serve it.

    `shown` is the requested name, where `name` only finds the models: some endpoints stand for a name.
    """
    if name is None or name not in catalog:
        return text
    shown = shown or name
    served_by = {name, *(model.id for model in catalog.models_of(name))}
    ids = sorted(served_by - {shown}, key=len, reverse=True)
    if not ids:
        return text
    head, separator, suggested = text.partition(_SUGGESTION)
    pattern = rf"(?<![\w.-])(?:{'|'.join(map(re.escape, ids))})(?![\w-])"
    return re.sub(pattern, lambda _: shown, head) + separator + suggested


def name_model_in_each(
    texts: Iterable[str], name: str, catalog: Catalog, shown: str | None = None
) -> tuple[str, ...]:
    """Return sentences with the requested name in place of the ids of the models that serve it."""
    return tuple(name_model(text, name, catalog, shown) for text in texts)


@contextmanager
def errors_name_model(name: str | None, catalog: Catalog, shown: str | None = None) -> Iterator[None]:
    """Make errors name the model as the request did; None for a request that named none.

    `shown` is as in `name_model`.
    """
    try:
        yield
    except InvalidRequest as error:
        message = name_model(error.message, name, catalog, shown)
        if message == error.message:
            raise
        # Of the same class: some dialects have a format of their own for blocked content.
        raise type(error)(message, code=error.code, param=error.param, details=error.details) from error
