"""A run whose parameters come in one object, as hosts of models take it: Replicate, fal, HuggingFace.

The fields are those of a PixelDojo run, which reads every parameter of every model, with the format of the
result; the hosts' own names for them are translated here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

from pydantic import Field

from orchestrator.catalog import Catalog, Model
from orchestrator.errors import InvalidRequest, invalid_field
from orchestrator.intake.field_names import errors_name_fields, item_name
from orchestrator.intake.input_reader import MASK_CHANNEL_PARAM, RED_CHANNEL
from orchestrator.intake.request_preparer import GenerationRequest
from orchestrator.media.formats import ImageEncoding
from orchestrator.web.dialects.image_formats import check_image_format
from orchestrator.web.dialects.openai.image_routes import MAX_OPENAI_IMAGES
from orchestrator.web.dialects.pixeldojo import translation as pixeldojo
from orchestrator.web.dialects.request_body import parse_body
from pricing.tariff import DEFAULT_TARIFF

#: Names of an image after the first one, with its number.
_NUMBERED_IMAGE = re.compile(r"(?:input_image|image|reference_image)_?(?P<number>[2-9])", re.ASCII)
#: Aspect ratios that leave the shape to other fields or to the input image.
_OPEN_ASPECT_RATIOS = frozenset({"custom", "match_input_image", "auto"})
_FILE_FORMATS = {"jpg": "image/jpeg", "jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp"}


class RunInput(pixeldojo.RunBody):
    """Parameters of one run."""

    control_fields = pixeldojo.RunBody.control_fields | {"output_format", "output_quality"}

    output_format: Literal["png", "jpg", "jpeg", "webp"] | None = Field(
        None, description="Format of the images; default: as the model makes them."
    )
    output_quality: int | None = Field(
        None, ge=1, le=100, description="Quality of a JPEG or WebP in percent; default: 100."
    )

    def taken_fields(self, model: Model) -> list[str]:
        """Return the fields that a run may have: hosts name the webhook beside the input."""
        return [name for name in super().taken_fields(model) if name != "webhook_url"]

    @property
    def encoding(self) -> ImageEncoding | None:
        """The format to store images in; None for that of the model."""
        if self.output_format is None:
            return None
        content_type = _FILE_FORMATS[self.output_format]
        quality = None if content_type == "image/png" else self.output_quality or 100
        return ImageEncoding(content_type, quality, default_quality=100)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunTranslation:
    """The fields of a run, and how they differ from those of `RunInput`."""

    fields: Mapping[str, Any]
    #: The caller's name of a field that was translated.
    given_names: Mapping[str, str]

    @classmethod
    def of(cls, sent: Mapping[str, Any], own_names: Mapping[str, str], parameters: object) -> RunTranslation:
        """Translate the fields of a host; `own_names` are its names of fields of `RunInput`.

        `parameters` are those of the model, which keep their names. Raises InvalidRequest.
        """
        known: Any = parameters
        fields: dict[str, Any] = {}
        given: dict[str, str] = {}
        further: list[tuple[str, str, Any]] = []
        for name, value in sent.items():
            numbered = None if name in known else _NUMBERED_IMAGE.fullmatch(name)
            if numbered is not None:
                if value is not None:
                    further.append((numbered["number"], name, value))
                continue
            ours = name if name in known else own_names.get(name, name)
            if ours != name:
                if fields.get(ours, value) != value:
                    raise InvalidRequest(
                        f"`{given.get(ours, ours)}` and `{name}` set the same parameter to different values;"
                        " send one of them",
                        code="conflicting_fields",
                        param=name,
                    )
                given[ours] = name
            fields[ours] = value
        if further:
            given["reference_images"] = sorted(further)[0][1]
            earlier = fields.get("reference_images")
            listed = earlier if isinstance(earlier, list) else []
            fields["reference_images"] = [*listed, *(value for _, _, value in sorted(further))]
            own = (item_name("reference_images", index) for index in range(len(listed)))
            senders = (*own, *(name for _, name, _ in sorted(further)))
            given |= {item_name("reference_images", index): name for index, name in enumerate(senders)}
        if isinstance(shape := fields.get("aspect_ratio"), str) and shape in _OPEN_ASPECT_RATIOS:
            del fields["aspect_ratio"]
        return cls(fields=fields, given_names=given)


def to_run_request(
    name: str,
    sent: Mapping[str, Any],
    catalog: Catalog,
    *,
    own_names: Mapping[str, str],
    idempotency_key: str | None,
    usual_names: Mapping[str, str] = MappingProxyType({}),
    default_format: str | None = None,
    has_white_masks: bool = False,
) -> GenerationRequest:
    """Translate a run of the model `name`; a result is charged by the default price list.

    `usual_names` are the host's names of parameters, for errors about one that the request lacks.
    `default_format` is the content type of images for which the request names none. `has_white_masks`: the
    host marks with white what is redrawn, unless `mask_channel` says otherwise. Raises InvalidRequest.
    """
    if "webhook_url" in sent:
        raise InvalidRequest(
            "`webhook_url` is no parameter of a model; name the webhook beside the input",
            code="unknown_parameter",
            param="webhook_url",
        )
    parameters = {parameter for model in catalog.models_of(name) for parameter in model.parameters}
    translated = RunTranslation.of(sent, own_names, parameters)
    usual = {ours: theirs for ours, theirs in usual_names.items() if translated.fields.get(ours) is None}
    names = {**usual, **translated.given_names}
    with errors_name_fields(names):
        body = parse_body(RunInput, translated.fields, parameters=parameters)
        request = pixeldojo.to_request(name, body, catalog, idempotency_key=idempotency_key)
    if has_white_masks:
        request = _with_white_mask(request, catalog)
    return _finish(request.with_field_names(names), body, catalog, default_format)


def _with_white_mask(request: GenerationRequest, catalog: Catalog) -> GenerationRequest:
    """Return the request with a mask that is read as the host reads it: white is what is redrawn."""
    model = catalog.model_of_request(request.model, request.served_by)
    params = request.params
    if (
        params.get("mask") is None
        or MASK_CHANNEL_PARAM not in model.parameters
        or MASK_CHANNEL_PARAM in params
    ):
        return request
    return replace(request, params={**params, MASK_CHANNEL_PARAM: RED_CHANNEL})


def _finish(
    request: GenerationRequest,
    body: RunInput,
    catalog: Catalog,
    default_format: str | None,
) -> GenerationRequest:
    """Return the request with the format of its images."""
    model = catalog.model_of_request(request.model, request.served_by)
    encoding = body.encoding
    if encoding is not None:
        if not model.makes_images:
            raise invalid_field("output_format", f"is for images only; {model.id} does not make images")
        check_image_format(model, encoding, body.passed_fields.get("background"))
    elif default_format is not None and model.makes_images:
        encoding = ImageEncoding(default_format, body.output_quality)
    warnings = _quality_warnings(body, model)
    fill = request.if_transparent
    return replace(
        request,
        tariff=DEFAULT_TARIFF,
        max_images=MAX_OPENAI_IMAGES,
        encoding=encoding,
        warnings=(*request.warnings, *warnings),
        if_transparent=replace(fill, tariff=DEFAULT_TARIFF, encoding=encoding) if fill else None,
    )


def _quality_warnings(body: RunInput, model: Model) -> list[str]:
    is_lossless = body.output_format in (None, "png") or not model.makes_images
    if body.output_quality in (None, 100) or not is_lossless:
        return []
    return ["`output_quality` has no effect without an `output_format` of jpg or webp"]
