"""Names of models as other services list them, `owner/name`, and the models of the catalog that they mean.

A name finds a model only if both mean the same weights: by a table of the dialect, or because the catalog has
the name itself (an id, an alias or an enabled stand-in) and its owner. `pixel-factory/NAME` is every name of
the catalog.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from orchestrator.catalog import Catalog
from orchestrator.errors import InvalidRequest, NotFound
from orchestrator.similar_names import find_similar

#: The owner of every name of the catalog.
OWN_OWNER = "pixel-factory"
#: How many names the error for an unknown model suggests.
_MAX_SUGGESTIONS = 3
_MAX_COMPARED_CHARACTERS = 100


def find_hosted_name(
    catalog: Catalog, asked: str, table: Mapping[str, str], hosts: Collection[str] = ()
) -> str | None:
    """Return the catalog's name of the model that `owner/name` asks for; None if there is none.

    `table` has further names, in lower case; all models of the catalog belong to the owners in `hosts`, too.
    """
    if asked in catalog:
        return asked
    listed = table.get(asked.lower())
    if listed is not None and listed in catalog:
        return listed
    owner, _, name = asked.partition("/")
    if not name or name not in catalog:
        return None
    owners = {OWN_OWNER, *hosts, catalog[name].manifest.owner.lower()}
    return name if owner.lower() in owners or name in catalog.stand_ins else None


def require_hosted_name(
    catalog: Catalog, asked: str, table: Mapping[str, str], hosts: Collection[str] = ()
) -> str:
    """Return the catalog's name of the model that `owner/name` asks for. Raises NotFound."""
    name = find_hosted_name(catalog, asked, table, hosts)
    if name is None:
        raise hosted_model_not_found(catalog, asked, table)
    return name


def hosted_model_not_found(catalog: Catalog, asked: str, table: Mapping[str, str]) -> NotFound:
    """Return the error for a name that means no model, with names like it."""
    owner, _, name = asked.partition("/")
    known = [*(name for name, listed in table.items() if listed in catalog), *all_hosted_names(catalog)]
    if not name or owner == OWN_OWNER:
        # Spelt as they were asked for: with our owner, or without any.
        known = [f"{owner}/{one}" if name else one for one, _ in catalog.offers()] + known
    guess = suggest_names(asked, known) or "."
    return NotFound(
        f"There is no model {asked[:100]!r}{guess} `{OWN_OWNER}/ID` names every model of `GET /v1/models`",
        code="model_not_found",
    )


def suggest_names(asked: str, known: Iterable[str]) -> str:
    """Return `; did you mean A or B?` with the names like the one that was asked for; empty without any."""
    # Comparing takes longer for longer names.
    similar = find_similar(asked[:_MAX_COMPARED_CHARACTERS], known, _MAX_SUGGESTIONS)
    return f"; did you mean {' or '.join(similar)}?" if similar else ""


def all_hosted_names(catalog: Catalog) -> list[str]:
    """Return the names of all models with their owners."""
    return [f"{model.manifest.owner.lower()}/{name}" for name, model in catalog.offers()]


def shown_name(catalog: Catalog, name: str) -> str:
    """Return `owner/name` of a name of the catalog, for responses."""
    try:
        owner = catalog[name].manifest.owner.lower()
    except InvalidRequest:
        owner = OWN_OWNER
    return f"{owner}/{name}"
