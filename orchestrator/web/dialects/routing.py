"""What callers ask for in words of their own, as models take it by their manifests: pictures, effort."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from orchestrator.catalog import Catalog, Model
from orchestrator.catalog.manifest import Kind
from orchestrator.catalog.parameters import Image, Images, Integer
from orchestrator.errors import InvalidRequest

#: Parameters that such a request can fill.
_GIVEN = frozenset({"prompt", "image", "images", "mask"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """Pictures out of pictures."""

    #: How many come in.
    pictures: int
    mask: bool = False
    #: Whether there are words too.
    prompt: bool = True

    def assign(self, catalog: Catalog, name: str | None, preferred: Sequence[str]) -> Model:
        """The named model; else the first of the preferred ones, and then of all, that can do it.

        Raises InvalidRequest.
        """
        if name is not None:
            self._check(catalog[name])
            return catalog[name]
        for model in chain((catalog[other] for other in preferred if other in catalog), catalog):
            if self._fits(model):
                return model
        with_mask = " with a mask" if self.mask else ""
        raise InvalidRequest(
            f"No model here takes {self.pictures} picture(s){with_mask}",
            code="unsupported_image",
            param="image",
        )

    def _fits(self, model: Model) -> bool:
        """Whether nothing else would have to be said."""
        needed = {name for name, spec in model.parameters.items() if spec.required}
        if model.kind is not Kind.IMAGE or not needed <= _GIVEN or ("prompt" in needed and not self.prompt):
            return False
        try:
            self._check(model)
        except InvalidRequest:
            return False
        return True

    def _check(self, model: Model) -> None:
        """Raises InvalidRequest."""
        if max_pictures(model) == 0 or not model.makes_pictures:
            raise InvalidRequest(
                f"{model.id} makes no pictures out of pictures", code="unsupported_model", param="model"
            )
        check_count(model, self.pictures)
        if self.mask and "mask" not in model.parameters:
            raise InvalidRequest(f"{model.id} takes no mask", code="unsupported_mask", param="mask")


def max_pictures(model: Model) -> int:
    """How many input pictures a request to the model may have, masks aside."""
    single, several = model.parameters.get("image"), model.parameters.get("images")
    return int(isinstance(single, Image)) + (several.max_items if isinstance(several, Images) else 0)


def check_count(model: Model, pictures: int) -> None:
    """Raises InvalidRequest."""
    most = max_pictures(model)
    if pictures > most:
        raise InvalidRequest(
            f"{model.id} takes at most {most} picture(s), not {pictures}",
            code="too_many_images",
            param="image",
        )


def placed(model: Model, pictures: Sequence[str | bytes]) -> dict[str, Any]:
    """The pictures under the names that the model has for them; nothing where it takes none."""
    rest = list(pictures)
    params: dict[str, Any] = {}
    if rest and isinstance(model.parameters.get("image"), Image):
        params["image"] = rest.pop(0)
    if rest and isinstance(model.parameters.get("images"), Images):
        params["images"] = rest
    return params


def share_of_steps(model: Model, share: float) -> dict[str, int]:
    """That share of the model's usual steps; nothing where it is all of them, or the model takes no steps."""
    spec = model.parameters.get("steps")
    if share == 1.0 or not isinstance(spec, Integer):
        return {}
    return {"steps": min(max(round(model.default_steps * share), spec.minimum), spec.maximum)}
