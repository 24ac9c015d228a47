"""Let the shape, frame rate and length of an output follow the input video."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.catalog import Model, reshape_for_image, size_params_for_image
from orchestrator.catalog.parameters.size_text import Size
from orchestrator.catalog.parameters.values import IntegerParameter, VideoParameter
from orchestrator.errors import InvalidRequest, invalid_field
from orchestrator.intake.size_warnings import warn_of_shape
from orchestrator.media.inputs.input_videos import InputVideo

#: How much a frame rate may differ from a whole number: 29.97 counts as 30.
MAX_RATE_DIFFERENCE = 0.5


#: Returns the parameter of the number of frames at a frame rate, and warnings. Raises InvalidRequest.
FramesAtRate = Callable[[int], tuple[Mapping[str, int], tuple[str, ...]]]


@dataclass(frozen=True, slots=True)
class FollowedVideo:
    """The parameters that follow the input video, and warnings about what they cannot follow."""

    params: dict[str, Any]
    warnings: tuple[str, ...] = ()


def follow_video(
    model: Model,
    params: Mapping[str, Any],
    given: Mapping[str, Any],
    video: InputVideo,
    *,
    pixels_by_shape: Callable[[float], float] | None = None,
    frames_at_rate: FramesAtRate | None = None,
) -> FollowedVideo:
    """Return the parameters with the size, the frame rate and the number of frames that follow the video.

    `given` are the parameters that the request sets, without those that `pixels_by_shape`, the largest number
    of pixels by aspect ratio, and `frames_at_rate` decide on. Raises InvalidRequest for another frame rate
    than the video's (`invalid_fps`), for more frames than it has (`invalid_num_frames`), and for another
    number of frames than the requested length has at that rate (`conflicting_fields`).
    """
    spec = _video_spec(model)
    followed: dict[str, Any] = {}
    warnings: list[str] = []
    if spec is not None and spec.shape:
        size = Size(video.width, video.height)
        if pixels_by_shape is None:
            followed |= size_params_for_image(model, given, size)
        else:
            followed |= reshape_for_image(model, size, pixels_by_shape(size.width / size.height))
        if followed:
            made = Size(followed["width"], followed["height"])
            warnings += warn_of_shape(made, size, "video")
    if spec is not None and spec.rate:
        followed["fps"] = _follow_rate(model, given, video)
        if frames_at_rate is not None:
            frames, texts = frames_at_rate(followed["fps"])
            _require_same_length(frames, given, followed["fps"])
            followed |= frames
            warnings += texts
    if spec is not None and spec.timing:
        followed |= _follow_length(model, params, given, video)
    return FollowedVideo({**params, **followed}, tuple(warnings))


def decides_on_shape(model: Model) -> bool:
    """Return whether the output has the shape of the input video."""
    spec = _video_spec(model)
    return spec is not None and spec.shape


def follows_rate(model: Model) -> bool:
    """Return whether the output has the frame rate of the input video."""
    spec = _video_spec(model)
    return spec is not None and spec.rate


def _video_spec(model: Model) -> VideoParameter | None:
    specs = model.parameters.values()
    return next((spec for spec in specs if isinstance(spec, VideoParameter)), None)


def _follow_rate(model: Model, given: Mapping[str, Any], video: InputVideo) -> int:
    """Return the frame rate of the output, which is that of the video. Raises InvalidRequest."""
    spec = model.parameters["fps"]
    assert isinstance(spec, IntegerParameter)
    asked = given.get("fps")
    if asked is not None:
        if abs(video.fps - asked) > MAX_RATE_DIFFERENCE:
            raise InvalidRequest(
                f"`fps` must be {round(video.fps)}, the frame rate of the video (got {asked})",
                code="invalid_fps",
                param="fps",
            )
        return int(asked)
    rate = max(spec.minimum, round(video.fps))
    if rate > spec.maximum or abs(video.fps - rate) > MAX_RATE_DIFFERENCE:
        raise invalid_field(
            "video",
            f"must have {spec.minimum} to {spec.maximum} frames per second (got {video.fps:.4g})",
        )
    return rate


def _require_same_length(frames: Mapping[str, int], given: Mapping[str, Any], fps: int) -> None:
    """Raise InvalidRequest if a request sets another number of frames than its length has at this rate."""
    asked, wanted = given.get("num_frames"), frames.get("num_frames")
    if asked is not None and asked != wanted:
        raise InvalidRequest(
            f"`num_frames` is {asked}, and the requested length has {wanted} frames at {fps} frames per"
            " second, the frame rate of the video; send one of them",
            code="conflicting_fields",
            param="num_frames",
        )


def _follow_length(
    model: Model, params: Mapping[str, Any], given: Mapping[str, Any], video: InputVideo
) -> dict[str, int]:
    spec = model.parameters["num_frames"]
    assert isinstance(spec, IntegerParameter)
    # A video of 2.999 s has the 48 frames of 3 s: containers round the times of frames.
    most = math.floor(video.seconds * params["fps"] + 0.5)
    if most < spec.minimum:
        shortest = spec.minimum / params["fps"]
        raise InvalidRequest(
            f"The video must be at least {shortest:.3g} seconds long (got {video.seconds:.3g})",
            code="invalid_video",
            param="video",
        )
    if given.get("num_frames") is None:
        return {"num_frames": min(most, spec.maximum)}
    if params["num_frames"] > most:
        raise InvalidRequest(
            f"`num_frames` must be at most {most}: the video lasts {video.seconds:.3g} seconds, at"
            f" {params['fps']} frames per second (got {params['num_frames']})",
            code="invalid_num_frames",
            param="num_frames",
        )
    return {}
