"""Checks that a model's kind fits its graph, and that requests can set its parameters."""

from __future__ import annotations

from orchestrator.catalog.manifest import ModelKind
from orchestrator.catalog.model import Model
from orchestrator.errors import invalid_field

#: What the results of a kind are; a trainer is made by hand.
_MEDIA = {
    # Requests for images may have a 3D model as result, too.
    ModelKind.IMAGE: {"image", "mesh"},
    ModelKind.UPSCALE: {"image"},
    ModelKind.VIDEO: {"video"},
    ModelKind.I2V: {"video"},
    ModelKind.AUDIO: {"audio"},
    ModelKind.MESH: {"mesh"},
    ModelKind.TEXT: {"text"},
    ModelKind.TRAINER: {"weights"},
}
#: Kinds whose requests have an image.
_OF_IMAGES = (ModelKind.UPSCALE, ModelKind.I2V)
#: Fields of requests that no parameter can have, because they mean something else.
_FIELDS_OF_REQUESTS = frozenset(
    {"model", "id", "params", "input", "stream", "user", "response_format", "webhook_url", "idempotency_key"}
)


def check_task(model: Model) -> None:
    """Raise InvalidRequest for a kind that the graph does not make, or a name that requests cannot set."""
    media = {output.media for output in model.manifest.outputs}
    has_image = any(spec.type in ("image", "images", "video") for spec in model.parameters.values())
    possible = [
        kind.value for kind, made in _MEDIA.items() if made & media and (has_image or kind not in _OF_IMAGES)
    ]
    if model.kind.value not in possible:
        made = ", ".join(sorted(media))
        allowed = f"one of {', '.join(possible)}" if len(possible) > 1 else ", ".join(possible)
        raise invalid_field(
            "manifest",
            f"kind: must be {allowed}, because the graph makes {made}"
            f"{'' if has_image else ' and takes no image or video'} (got {model.kind.value!r})",
        )
    for name, spec in model.parameters.items():
        # Trainers have no size of a result.
        if name in _FIELDS_OF_REQUESTS or (
            name == "size" and spec.type != "string" and model.kind is not ModelKind.TRAINER
        ):
            raise invalid_field(
                "manifest",
                f"parameters: the name {name!r} is a field of requests with another meaning; give the"
                " parameter another name",
            )
