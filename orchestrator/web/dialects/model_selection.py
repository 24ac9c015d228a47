"""Choosing a model for a request, and passing images and effort under the names of its parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from types import MappingProxyType
from typing import Any

from orchestrator.catalog import Catalog, Model
from orchestrator.catalog.parameters.values import ImageListParameter, ImageParameter, IntegerParameter
from orchestrator.catalog.tasks import Task, find_tasks
from orchestrator.errors import InvalidRequest
from orchestrator.intake.field_names import item_name, rename_field
from orchestrator.intake.request_preparer import GenerationRequest
from orchestrator.web.dialects.input_image_models import max_input_images, suggest_models, takes_images


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageToImageTask:
    """A request that makes images from images; it decides which models can serve it."""

    #: Number of input images.
    image_count: int
    #: The field with the last of them.
    image_field: str = "image"
    has_mask: bool = False
    has_prompt: bool = True

    def select_model(self, catalog: Catalog, name: str | None, preferred: Sequence[str]) -> Model:
        """Return the named model, or the first that can serve the request: preferred ones, then all others.

        Raises InvalidRequest.
        """
        candidates = list(chain((catalog[other] for other in preferred if other in catalog), catalog))
        if name is not None:
            model = catalog.resolve(name, *self._tasks)
            self._check_model(model, candidates)
            return model
        for model in candidates:
            if self._can_serve(model):
                return model
        with_mask = " and a mask" if self.has_mask else ""
        raise InvalidRequest(
            f"No model accepts {self.image_count} input image(s){with_mask}; `GET /v1/models` lists"
            " all models",
            code="unsupported_image",
            param="image",
        )

    @property
    def _tasks(self) -> tuple[Task, ...]:
        return find_tasks(image_count=self.image_count, has_mask=self.has_mask, has_prompt=self.has_prompt)

    def _can_serve(self, model: Model) -> bool:
        """Whether the request provides all that the model requires, and the model takes all that it has."""
        return takes_images(model, self.image_count, has_mask=self.has_mask, has_prompt=self.has_prompt)

    def _is_alternative(self, model: Model) -> bool:
        """Whether to name the model instead of one that refuses: some that fill masks refuse all else."""
        return self._can_serve(model) and (self.has_mask or "mask" not in model.parameters)

    def _check_model(self, model: Model, candidates: Sequence[Model]) -> None:
        """Raise InvalidRequest if the model does not accept the request's images or mask."""
        if max_input_images(model) and not model.makes_images:
            other = "`POST /v1/videos` as `input_reference`, or to " if model.makes_video else ""
            raise InvalidRequest(
                f"Model {model.id} does not make images; send the image to {other}"
                "`POST /v1/images/generations` as `image`",
                code="unsupported_model",
                param="model",
            )
        models = suggest_models(candidates, self._is_alternative)
        suggestion = f"; {models}" if models else ""
        if max_input_images(model) == 0:
            raise InvalidRequest(
                f"Model {model.id} does not accept input images{suggestion}",
                code="unsupported_model",
                param="model",
            )
        check_image_count(model, self.image_count, self.image_field, suggestion=suggestion)
        check_mask(model, has_mask=self.has_mask, suggestion=suggestion)


def with_fill(
    translate: Callable[[bool], GenerationRequest], *, has_image: bool, has_mask: bool
) -> GenerationRequest:
    """Return the request that `translate` makes for the task of filling a mask, or for another one.

    For an image without a mask it is also translated for the model that fills masks, if the name has another
    one for that: transparent areas of the image take the place of a mask. Raises InvalidRequest.
    """
    request = translate(has_mask)
    if has_mask or not has_image:
        return request
    try:
        fill = translate(True)
    except InvalidRequest:
        return request  # no model of the name takes such a request with a mask
    return request if fill.served_by == request.served_by else replace(request, if_transparent=fill)


def check_image_count(model: Model, image_count: int, field: str = "image", *, suggestion: str = "") -> None:
    """Raise InvalidRequest if the model does not accept that many input images; the last is in `field`."""
    most = max_input_images(model)
    if image_count > most:
        limit = f"accepts at most {most} input image(s)" if most else "does not accept input images"
        hint = suggestion if most else f"; omit `{field}`"
        raise InvalidRequest(
            f"Model {model.id} {limit} (got {image_count}){hint}", code="too_many_images", param=field
        )


def check_mask(model: Model, *, has_mask: bool, suggestion: str = "") -> None:
    """Raise InvalidRequest for a mask that the model does not accept."""
    if has_mask and "mask" not in model.parameters:
        raise InvalidRequest(
            f"Model {model.id} does not accept a `mask`{suggestion}", code="unsupported_mask", param="mask"
        )


def to_image_params(model: Model, images: Sequence[str | bytes]) -> dict[str, Any]:
    """Return the images under the names of the model's parameters; nothing if it accepts none."""
    rest = list(images)
    params: dict[str, Any] = {}
    if rest and isinstance(model.parameters.get("image"), ImageParameter):
        params["image"] = rest.pop(0)
    if rest and isinstance(model.parameters.get("images"), ImageListParameter):
        params["images"] = rest
    return params


def image_field_names(
    model: Model, fields: Mapping[str, int], given_names: Mapping[str, str] = MappingProxyType({})
) -> dict[str, str]:
    """Return the field that errors name, by parameter of the model and by item of a list of images.

    `fields` are the numbers of images in the fields that hold any, in the order of the images, and
    `given_names` the caller's names of these fields.
    """
    counted = {field: count for field, count in fields.items() if count}
    if not counted:
        return {}
    sent = [
        rename_field(field if count == 1 else item_name(field, index), given_names)
        for field, count in counted.items()
        for index in range(count)
    ]
    listed = to_image_params(model, sent).get("images", [])
    items = {item_name("images", index): field for index, field in enumerate(listed)}
    last = rename_field(next(reversed(counted)), given_names)
    return {"image": sent[0], "images": last, **items}


def scale_steps(model: Model, factor: float) -> dict[str, int]:
    """Return the model's default steps times `factor`, within its range; nothing if that changes nothing."""
    spec = model.parameters.get("steps")
    if factor == 1.0 or not isinstance(spec, IntegerParameter):
        return {}
    return {"steps": min(max(round(model.default_steps * factor), spec.minimum), spec.maximum)}
