"""What all bodies of Pixazo's endpoints have in common, those that are queued, and those with a picture."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from orchestrator.catalog import Model
from orchestrator.media.formats import Encoding
from orchestrator.web.dialects.pixazo_fields import Address, Fields
from orchestrator.web.dialects.pixazo_sizes import stepped
from orchestrator.web.dialects.routing import check_count, placed

CONTENT_TYPES = {"jpeg": "image/jpeg", "jpg": "image/jpeg", "png": "image/png", "webp": "image/webp"}

Picture = Annotated[Address, Field(description="Address or data URL of a picture.")]


class Gateway(Fields):
    """What all bodies have in common; attributes are named as our models' parameters are."""

    def params(self, model: Model) -> dict[str, Any]:
        """The model's parameters that the body sets. Raises InvalidRequest."""
        own = {name: value for name, value in self if name in model.parameters or name == "n"}
        return {name: value for name, value in own.items() if value is not None} | self._sides(model)

    @property
    def encoding(self) -> Encoding | None:
        """What the files shall be; None: as the model makes them."""
        format, quality = getattr(self, "output_format", None), getattr(self, "quality", None)
        if format is None:
            return None
        if quality is None or format == "png":
            return Encoding(CONTENT_TYPES[format])
        return Encoding(CONTENT_TYPES[format], max(1, quality))

    @property
    def like_picture(self) -> bool:
        """Whether the result shall have the size of the picture."""
        return False

    @property
    def receiver(self) -> str | None:
        """Who shall be told when it is done, by the body."""
        return getattr(self, "webhook_url", None)

    @property
    def events(self) -> tuple[str, ...] | None:
        """Of which ends; None: all."""
        return None

    @property
    def waits(self) -> bool:
        """Whether the answer shall be the result, if that comes soon enough."""
        return bool(getattr(self, "sync_mode", False))

    def _sides(self, model: Model) -> dict[str, int]:
        """Width and height that are given in pixels, as near as the model comes below them."""
        given = {name: getattr(self, name, None) for name in ("width", "height")}
        return {name: stepped(model, name, value) for name, value in given.items() if value is not None}


class Queued(Gateway):
    """Bodies of endpoints whose requests are polled, or tell a webhook."""

    webhook_url: Annotated[Address | None, Field(alias="webhook", description="Told of the end.")] = None
    webhook_events: Annotated[
        list[Literal["completed", "failed"]] | None,
        Field(alias="webhook_events_filter", min_length=1, description="Which ends; default: both."),
    ] = None

    @property
    def events(self) -> tuple[str, ...] | None:
        return None if self.webhook_events is None else tuple(self.webhook_events)


class Pictured(Queued):
    """The same, with a picture to work on."""

    picture: Picture

    def params(self, model: Model) -> dict[str, Any]:
        return super().params(model) | worked_on(model, self.picture)


def worked_on(model: Model, picture: str) -> dict[str, Any]:
    """The picture under the model's name for it. Raises InvalidRequest where it takes none."""
    check_count(model, 1)
    return placed(model, [picture])
