"""Which models take input images and masks, and refusals of those that name such models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice

from orchestrator.catalog import Catalog, Model
from orchestrator.catalog.manifest import ModelKind
from orchestrator.catalog.parameters.values import ImageListParameter, ImageParameter
from orchestrator.errors import InvalidRequest
from orchestrator.intake.field_names import split_item
from orchestrator.web.dialects.parameter_names import SYNONYMS

#: Parameters that a request with input images can fill.
_FILLABLE_PARAMETERS = frozenset({"prompt", "image", "images", "mask"})
_IMAGE_FIELDS = frozenset({"image", "images", "input_reference"})
_REFUSALS = frozenset(
    {"too_many_images", "unknown_parameter", "unsupported_mask", "unsupported_input_reference"}
)
#: Models for edits that name none: the first that accepts the images and the mask, then any other that does.
PREFERRED_EDIT_MODELS = ("flux-1-kontext-dev", "qwen-image-edit", "flux-2-dev", "flux-1-fill-dev")
#: How many models an error message suggests.
_MAX_SUGGESTIONS = 5
#: Returns the name of a model in a dialect.
NameOf = Callable[[Model], str]


def _id_of(model: Model) -> str:
    return model.id


def max_input_images(model: Model) -> int:
    """Return how many input images a request to the model may have, not counting masks."""
    single, several = model.parameters.get("image"), model.parameters.get("images")
    return int(isinstance(single, ImageParameter)) + (
        several.max_items if isinstance(several, ImageListParameter) else 0
    )


def takes_images(
    model: Model,
    image_count: int,
    *,
    has_mask: bool = False,
    has_prompt: bool = True,
    for_video: bool = False,
) -> bool:
    """Whether such a request provides all that the model requires, and the model takes all that it has."""
    makes_it = model.makes_video if for_video else model.kind is ModelKind.IMAGE and model.makes_images
    if not (makes_it and 0 < max_input_images(model) >= image_count):
        return False
    required = {name for name, spec in model.parameters.items() if spec.required}
    return (
        required <= _FILLABLE_PARAMETERS
        and (has_prompt or "prompt" not in required)
        and not (has_mask and "mask" not in model.parameters)
    )


def suggest_models(
    candidates: Iterable[Model], is_suitable: Callable[[Model], bool], name_of: NameOf = _id_of
) -> str:
    """Return "use one of: ..." with the first suitable models, or nothing if there is none."""
    suitable = dict.fromkeys(name_of(model) for model in candidates if is_suitable(model))
    shown = ", ".join(islice(suitable, _MAX_SUGGESTIONS))
    more = ", ..." if len(suitable) > _MAX_SUGGESTIONS else ""
    return f"use one of: {shown}{more}" if suitable else ""


def suggest_image_models(
    catalog: Catalog,
    image_count: int = 1,
    *,
    has_mask: bool = False,
    for_video: bool = False,
    name_of: NameOf = _id_of,
) -> str:
    """Return "use one of: ..." with models that make an image, or a video, of such images; or nothing.

    Models that fill masks are among them only for a request with a mask: some refuse all others. Those
    without a prompt cut out or enlarge.
    """
    preferred = [catalog[name] for name in PREFERRED_EDIT_MODELS if name in catalog]
    count = max(image_count, 1)
    return suggest_models(
        [*preferred, *catalog],
        lambda model: (
            takes_images(model, count, has_mask=has_mask, for_video=for_video)
            and (has_mask or "mask" not in model.parameters)
            and (for_video or "prompt" in model.parameters)
        ),
        name_of,
    )


@contextmanager
def refusals_name_models(
    model: Model,
    catalog: Catalog,
    image_count: int = 1,
    *,
    has_mask: bool = False,
    name_of: NameOf = _id_of,
) -> Iterator[None]:
    """Make the refusal of input images or a mask, which `model` does not take, name models that do.

    They make what `model` makes, of `image_count` images or more, and of a mask if the request has one;
    those for editing come first. `name_of` is how the dialect names a model.
    """
    try:
        yield
    except InvalidRequest as error:
        field = split_item(error.param or "")[0]
        name = SYNONYMS.get(field, field)
        is_mask = name == "mask"
        takes_it = "mask" in model.parameters if is_mask else max_input_images(model) >= image_count
        if error.code not in _REFUSALS or takes_it or not (is_mask or name in _IMAGE_FIELDS):
            raise
        models = suggest_image_models(
            catalog,
            image_count,
            has_mask=has_mask or is_mask,
            for_video=model.makes_video,
            name_of=name_of,
        )
        if not is_mask and max_input_images(model):
            message = f"{error.message}; {models}" if models else error.message
        else:
            refused = "a mask" if is_mask else "input images"
            way_out = f"omit `{error.param}`, or {models}" if models else f"omit `{error.param}`"
            message = f"Model {model.id} does not accept {refused}; {way_out}"
        raise InvalidRequest(message, code=error.code, param=error.param) from error
