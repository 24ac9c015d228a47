"""The size and length of a video that belong to the name of a model, where a request sets none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.catalog import Model, parse_size
from orchestrator.catalog.parameters.values import IntegerParameter
from orchestrator.catalog.tasks import TaskModels
from orchestrator.errors import InvalidRequest
from orchestrator.intake.video_following import FramesAtRate, decides_on_shape, follows_rate


@dataclass(frozen=True, slots=True)
class NameDefaults:
    """What the row of a name adds to the parameters of a request."""

    params: Mapping[str, int] = field(default_factory=dict)
    #: The number of frames of the row's length by frame rate, if the input video decides on the rate.
    frames_at_rate: FramesAtRate | None = None


def find_name_defaults(
    name: str, row: TaskModels | None, model: Model, given: Mapping[str, Any], *, sets_length: bool = False
) -> NameDefaults:
    """Return the size and the number of frames of a name, without those that a request sets.

    A video that starts with an image, or continues a video, has the shape of that one instead. `sets_length`
    is for a request whose length is not among the `given` parameters yet. Raises InvalidRequest for a frame
    rate at which the model does not make the length of the name.
    """
    if row is None or not model.makes_video:
        return NameDefaults()
    params: dict[str, int] = {}
    follows = decides_on_shape(model) or any(given.get(image) for image in model.image_inputs)
    if row.size and not follows and _sets_none(given, "width", "height"):
        params |= parse_size(row.size).to_params()
    frames_at_rate = None
    if row.seconds and not sets_length and _sets_none(given, "num_frames"):
        seconds = row.seconds
        if follows_rate(model) and _sets_none(given, "fps"):

            def frames_at_rate(fps: int) -> tuple[Mapping[str, int], tuple[str, ...]]:
                return _to_frames(name, model, seconds, fps), ()

        else:
            params |= _to_frames(name, model, seconds, given.get("fps"))
    return NameDefaults(params, frames_at_rate)


def default_params(row: TaskModels | None, model: Model) -> dict[str, int]:
    """Return the parameters of a video of a name for which a request sets nothing."""
    return dict(find_name_defaults("", row, model, {}).params)


def _sets_none(given: Mapping[str, Any], *names: str) -> bool:
    return all(given.get(name) is None for name in names)


def _to_frames(name: str, model: Model, seconds: float, fps: object) -> dict[str, int]:
    """Return the number of frames of a length. Raises InvalidRequest."""
    spec, rate_spec = model.parameters.get("num_frames"), model.parameters.get("fps")
    if not isinstance(spec, IntegerParameter) or not isinstance(rate_spec, IntegerParameter):
        return {}
    rate = rate_spec.default if fps is None else rate_spec.validate_value("fps", fps)
    if rate is None:
        return {}
    frames = round(seconds * rate)
    if frames != seconds * rate or not spec.allows(frames):
        raise InvalidRequest(
            f"`fps` {rate} does not make the {seconds:g} seconds that {name} has by default; send"
            " `num_frames` as well, or a length",
            code="invalid_fps",
            param="fps",
        )
    return {"num_frames": frames}
