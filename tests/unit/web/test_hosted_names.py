"""Errors for unknown models name those that may be meant, spelt as they were asked for."""

from __future__ import annotations

import pytest

from orchestrator.errors import InvalidRequest
from orchestrator.web.dialects.a1111.translation import require_checkpoint
from orchestrator.web.dialects.hosted_names import hosted_model_not_found
from tests.support.shipped import SHIPPED_CATALOG

TABLE = {"fal-ai/flux/schnell": "flux-1-schnell", "gone/model": "gone"}


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ("pixel-factory/flux-1-schnel", "did you mean pixel-factory/flux-1-schnell"),
        ("flux-1-schnel", "did you mean flux-1-schnell"),
        ("black-forest-labs/flux-1-schnel", "did you mean black-forest-labs/flux-1-schnell"),
        ("fal-ai/flux/shnell", "did you mean fal-ai/flux/schnell"),
    ],
)
def test_the_nearest_models_are_named(asked: str, named: str) -> None:
    message = hosted_model_not_found(SHIPPED_CATALOG, asked, TABLE).message
    assert message.startswith(f"There is no model {asked!r}; ")
    assert named in message


@pytest.mark.parametrize("asked", ["pixel-factory/zzzzzzzz", "zzzzzzzz", "gone/modell"])
def test_nothing_is_guessed_where_nothing_is_alike(asked: str) -> None:
    message = hosted_model_not_found(SHIPPED_CATALOG, asked, TABLE).message
    assert message.startswith(f"There is no model {asked!r}. `pixel-factory/ID` names every model")


@pytest.mark.parametrize("title", ["flux-1-schnel", "flux-1-schnel [0123abcdef]"])
def test_an_unknown_checkpoint_names_the_nearest(title: str) -> None:
    with pytest.raises(InvalidRequest, match=r"\(got 'flux-1-schnel.*'\); did you mean flux-1-schnell"):
        require_checkpoint(SHIPPED_CATALOG, title)


def test_only_checkpoints_that_make_images_are_named() -> None:
    with pytest.raises(InvalidRequest) as refused:
        require_checkpoint(SHIPPED_CATALOG, "wan2.1-t2v-fasst")
    assert "t2v" not in refused.value.message.partition("(got ")[2].partition(")")[2]
