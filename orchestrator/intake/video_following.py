"""Let the shape and length of an output follow the input video."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from orchestrator.catalog import Model, size_params_for_image
from orchestrator.catalog.parameters.size_text import Size
from orchestrator.catalog.parameters.values import IntegerParameter, VideoParameter
from orchestrator.errors import InvalidRequest
from orchestrator.media.input_videos import InputVideo

#: How much a frame rate may differ from a whole number: 29.97 counts as 30.
MAX_RATE_DIFFERENCE = 0.5


def follow_video(
    model: Model, params: Mapping[str, Any], given: Mapping[str, Any], video: InputVideo
) -> dict[str, Any]:
    """Return the parameters with the size and the number of frames that follow the video.

    `given` are the parameters that the request sets. Raises InvalidRequest (`invalid_num_frames`) if it asks
    for more frames than the video has at the output's frame rate.
    """
    spec = next(spec for spec in model.parameters.values() if isinstance(spec, VideoParameter))
    followed: dict[str, Any] = {}
    if spec.shape:
        size = Size(video.width, video.height)
        followed |= size_params_for_image(model, given, size)
    if spec.rate:
        _check_rate(params, video)
    if spec.timing:
        followed |= _follow_length(model, params, given, video)
    return {**params, **followed}


def _check_rate(params: Mapping[str, Any], video: InputVideo) -> None:
    if abs(video.fps - params["fps"]) > MAX_RATE_DIFFERENCE:
        raise InvalidRequest(
            f"`fps` must be {round(video.fps)}, the frame rate of the video (got {params['fps']})",
            code="invalid_fps",
            param="fps",
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
