"""What all bodies of Pixazo's endpoints have in common, those that are queued, and those with a picture."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from orchestrator.catalog import Model
from orchestrator.media.formats import ImageEncoding
from orchestrator.web.dialects.model_selection import check_image_count, to_image_params
from orchestrator.web.dialects.pixazo.fields import PixazoBody, Url
from orchestrator.web.dialects.pixazo.sizes import round_down_to_step

CONTENT_TYPE_BY_FORMAT = {"jpeg": "image/jpeg", "jpg": "image/jpeg", "png": "image/png", "webp": "image/webp"}

ImageUrl = Annotated[Url, Field(description="Address or data URL of a picture.")]


class EndpointBody(PixazoBody):
    """What all bodies have in common; attributes are named as our models' parameters are."""

    def to_params(self, model: Model) -> dict[str, Any]:
        """The model's parameters that the body sets. Raises InvalidRequest."""
        own = {name: value for name, value in self if name in model.parameters or name == "n"}
        return {name: value for name, value in own.items() if value is not None} | self._dimensions(model)

    @property
    def encoding(self) -> ImageEncoding | None:
        """What the files shall be; None: as the model makes them."""
        format, quality = getattr(self, "output_format", None), getattr(self, "quality", None)
        if format is None:
            return None
        if quality is None or format == "png":
            return ImageEncoding(CONTENT_TYPE_BY_FORMAT[format])
        return ImageEncoding(CONTENT_TYPE_BY_FORMAT[format], max(1, quality))

    @property
    def match_input_size(self) -> bool:
        """Whether the result shall have the size of the picture."""
        return False

    @property
    def webhook_receiver_url(self) -> str | None:
        """Who shall be told when it is done, by the body."""
        return getattr(self, "webhook_url", None)

    @property
    def webhook_event_filter(self) -> tuple[str, ...] | None:
        """Of which ends; None: all."""
        return None

    @property
    def waits_for_result(self) -> bool:
        """Whether the answer shall be the result, if that comes soon enough."""
        return bool(getattr(self, "sync_mode", False))

    def _dimensions(self, model: Model) -> dict[str, int]:
        """Width and height that are given in pixels, as near as the model comes below them."""
        given = {name: getattr(self, name, None) for name in ("width", "height")}
        return {
            name: round_down_to_step(model, name, value) for name, value in given.items() if value is not None
        }


class QueuedBody(EndpointBody):
    """Bodies of endpoints whose requests are polled, or tell a webhook."""

    webhook_url: Annotated[Url | None, Field(alias="webhook", description="Told of the end.")] = None
    webhook_events: Annotated[
        list[Literal["completed", "failed"]] | None,
        Field(alias="webhook_events_filter", min_length=1, description="Which ends; default: both."),
    ] = None

    @property
    def webhook_event_filter(self) -> tuple[str, ...] | None:
        return None if self.webhook_events is None else tuple(self.webhook_events)


class QueuedImageBody(QueuedBody):
    """The same, with a picture to work on."""

    input_image: ImageUrl

    def to_params(self, model: Model) -> dict[str, Any]:
        return super().to_params(model) | single_image_params(model, self.input_image)


def single_image_params(model: Model, image: str) -> dict[str, Any]:
    """The picture under the model's name for it. Raises InvalidRequest where it takes none."""
    check_image_count(model, 1)
    return to_image_params(model, [image])
