"""Parameters of tests that repeat the same promise: some run always, the others with `scripts/test --all`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import pytest

from orchestrator.catalog import Model

#: Set by `scripts/test --all`.
ALL_VARIABLE = "TEST_ALL_EXAMPLES"


def first_always(values: Iterable[Any], *, always: int = 1) -> list[Any]:
    """Return parameters of which the first run always."""
    return [value if place < always else _slow(value) for place, value in enumerate(values)]


def one_of_each_kind(models: Iterable[Model]) -> list[Any]:
    """Return parameters of which a model runs always unless an earlier one has the same parameter names."""
    kinds = set[frozenset[str]]()
    chosen = []
    for model in models:
        kind = frozenset(model.parameters)
        chosen.append(pytest.param(model, id=model.id, marks=pytest.mark.slow if kind in kinds else ()))
        kinds.add(kind)
    return chosen


def _slow(value: Any) -> Any:
    values = value if isinstance(value, tuple) else (value,)
    return pytest.param(*values, marks=pytest.mark.slow)


def tries(examples: int) -> int:
    """Return the number of examples of a property: all in `scripts/test --all`, a third in other runs.

    They are the same each time; `--hypothesis-profile=default` looks for new ones.
    """
    return examples if os.environ.get(ALL_VARIABLE) else -(-examples // 3)
