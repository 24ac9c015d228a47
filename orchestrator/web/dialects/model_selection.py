"""What callers ask for in words of their own, as models take it by their manifests: pictures, effort."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from orchestrator.catalog import Catalog, Model
from orchestrator.catalog.manifest import ModelKind
from orchestrator.catalog.parameters.values import ImageListParameter, ImageParameter, IntegerParameter
from orchestrator.errors import InvalidRequest

#: Parameters that such a request can fill.
_FILLABLE_PARAMETERS = frozenset({"prompt", "image", "images", "mask"})


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageToImageTask:
    """Pictures out of pictures."""

    #: How many come in.
    image_count: int
    has_mask: bool = False
    #: Whether there are words too.
    has_prompt: bool = True

    def select_model(self, catalog: Catalog, name: str | None, preferred: Sequence[str]) -> Model:
        """The named model; else the first of the preferred ones, and then of all, that can do it.

        Raises InvalidRequest.
        """
        if name is not None:
            self._check_model(catalog[name])
            return catalog[name]
        for model in chain((catalog[other] for other in preferred if other in catalog), catalog):
            if self._can_serve(model):
                return model
        with_mask = " with a mask" if self.has_mask else ""
        raise InvalidRequest(
            f"No model here takes {self.image_count} picture(s){with_mask}",
            code="unsupported_image",
            param="image",
        )

    def _can_serve(self, model: Model) -> bool:
        """Whether nothing else would have to be said."""
        needed = {name for name, spec in model.parameters.items() if spec.required}
        if (
            model.kind is not ModelKind.IMAGE
            or not needed <= _FILLABLE_PARAMETERS
            or ("prompt" in needed and not self.has_prompt)
        ):
            return False
        try:
            self._check_model(model)
        except InvalidRequest:
            return False
        return True

    def _check_model(self, model: Model) -> None:
        """Raises InvalidRequest."""
        if max_input_images(model) == 0 or not model.makes_images:
            raise InvalidRequest(
                f"{model.id} makes no pictures out of pictures", code="unsupported_model", param="model"
            )
        check_image_count(model, self.image_count)
        if self.has_mask and "mask" not in model.parameters:
            raise InvalidRequest(f"{model.id} takes no mask", code="unsupported_mask", param="mask")


def max_input_images(model: Model) -> int:
    """How many input pictures a request to the model may have, masks aside."""
    single, several = model.parameters.get("image"), model.parameters.get("images")
    return int(isinstance(single, ImageParameter)) + (
        several.max_items if isinstance(several, ImageListParameter) else 0
    )


def check_image_count(model: Model, image_count: int) -> None:
    """Raises InvalidRequest."""
    most = max_input_images(model)
    if image_count > most:
        raise InvalidRequest(
            f"{model.id} takes at most {most} picture(s), not {image_count}",
            code="too_many_images",
            param="image",
        )


def to_image_params(model: Model, images: Sequence[str | bytes]) -> dict[str, Any]:
    """The pictures under the names that the model has for them; nothing where it takes none."""
    rest = list(images)
    params: dict[str, Any] = {}
    if rest and isinstance(model.parameters.get("image"), ImageParameter):
        params["image"] = rest.pop(0)
    if rest and isinstance(model.parameters.get("images"), ImageListParameter):
        params["images"] = rest
    return params


def scale_steps(model: Model, factor: float) -> dict[str, int]:
    """That share of the model's usual steps; nothing where it is all of them, or the model takes no steps."""
    spec = model.parameters.get("steps")
    if factor == 1.0 or not isinstance(spec, IntegerParameter):
        return {}
    return {"steps": min(max(round(model.default_steps * factor), spec.minimum), spec.maximum)}
