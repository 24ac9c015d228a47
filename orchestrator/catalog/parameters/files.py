"""Parameters whose values are files. The graph gets the name under which the instance stores them."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field

from orchestrator.catalog.parameters.declaration import ParameterBase
from orchestrator.catalog.parameters.size_text import Size
from orchestrator.errors import invalid_field

_FILE_SCHEMA = {"type": "string", "contentEncoding": "base64"}


class ImageParameterBase(ParameterBase):
    """An input image or mask. Its value is the name under which the instance stores the upload."""

    min_width: int = Field(16, gt=0)
    min_height: int = Field(16, gt=0)
    max_width: int = Field(8192, gt=0)
    max_height: int = Field(8192, gt=0)

    def validate_dimensions(self, name: str, width: int, height: int) -> None:
        """Raise InvalidRequest for an image that is too large or too small."""
        if width > self.max_width or height > self.max_height:
            limit = f"at most {self.max_width}x{self.max_height}"
        elif width < self.min_width or height < self.min_height:
            limit = f"at least {self.min_width}x{self.min_height}"
        else:
            return
        raise invalid_field(name, f"must be {limit} pixels (got {width}x{height})")

    def limit_size(self, size: Size) -> Size:
        """Return the size, scaled down to the largest that the model takes."""
        factor = min(1.0, self.max_width / size.width, self.max_height / size.height)
        return size if factor == 1.0 else Size(*(max(1, math.floor(side * factor)) for side in size))

    @staticmethod
    def validate_image_name(name: str, value: object) -> str:
        if not isinstance(value, str) or not value:
            raise invalid_field(name, "must be an image")
        return value


class ImageParameter(ImageParameterBase):
    """One image."""

    type: Literal["image"]
    default: None = None
    #: Whether the output is this image with changes: it is scaled and padded to the size of the output.
    canvas: bool = False

    def validate_value(self, name: str, value: object) -> str:
        return self.validate_image_name(name, value)

    def to_json_schema(self) -> dict[str, Any]:
        return dict(_FILE_SCHEMA)


class ImageListParameter(ImageParameterBase):
    """A list of images, each within the limits of one."""

    type: Literal["images"]
    default: tuple[()] = ()
    max_items: int = Field(4, gt=0)

    def validate_value(self, name: str, value: object) -> list[str]:
        if not isinstance(value, list | tuple):
            raise invalid_field(name, "must be a list of images")
        if len(value) > self.max_items:
            raise invalid_field(name, f"must have at most {self.max_items} images (got {len(value)})")
        return [self.validate_image_name(name, item) for item in value]

    def to_json_schema(self) -> dict[str, Any]:
        return {"type": "array", "items": dict(_FILE_SCHEMA), "maxItems": self.max_items}


class VideoParameter(ParameterBase):
    """One video. Its value is the name under which the instance stores the upload."""

    type: Literal["video"]
    default: None = None
    min_seconds: float = Field(0.1, gt=0)
    max_seconds: float = Field(30.0, gt=0)
    max_width: int = Field(4096, gt=0)
    max_height: int = Field(4096, gt=0)
    #: Whether the output has the shape of the video, rather than that of an input image.
    shape: bool = False
    #: Whether the output has one frame for each of the video's, at the output's frame rate: it is as long as
    #: the video without `num_frames`, and cannot be longer.
    timing: bool = False
    #: Whether the output continues the video, so that `fps` must be its frame rate.
    rate: bool = False

    def validate_value(self, name: str, value: object) -> str:
        if not isinstance(value, str) or not value:
            raise invalid_field(name, "must be a video")
        return value

    def validate_video(self, name: str, size: Size, seconds: float) -> None:
        """Raise InvalidRequest for a video that is too large, too long or too short."""
        if size.width > self.max_width or size.height > self.max_height:
            limit = f"at most {self.max_width}x{self.max_height} pixels (got {size.width}x{size.height})"
        elif not self.min_seconds <= seconds <= self.max_seconds:
            limit = f"{self.min_seconds:g} to {self.max_seconds:g} seconds long (got {seconds:.3g})"
        else:
            return
        raise invalid_field(name, f"must be {limit}")

    def to_json_schema(self) -> dict[str, Any]:
        return dict(_FILE_SCHEMA)


class AudioParameter(ParameterBase):
    """Audio, or the sound of a video. Its value is the name under which the instance stores the upload."""

    type: Literal["audio"]
    default: None = None
    min_seconds: float = Field(0.1, gt=0)
    max_seconds: float = Field(30.0, gt=0)

    def validate_value(self, name: str, value: object) -> str:
        if not isinstance(value, str) or not value:
            raise invalid_field(name, "must be audio")
        return value

    def validate_seconds(self, name: str, seconds: float) -> None:
        """Raise InvalidRequest for audio that is too long or too short."""
        if not self.min_seconds <= seconds <= self.max_seconds:
            limits = f"{self.min_seconds:g} to {self.max_seconds:g} seconds long"
            raise invalid_field(name, f"must be {limits} (got {seconds:.3g})")

    def to_json_schema(self) -> dict[str, Any]:
        return dict(_FILE_SCHEMA)


class DatasetParameter(ParameterBase):
    """Images with optional captions to train on. Its value is the name of the folder of the uploads."""

    type: Literal["dataset"]
    default: None = None
    max_items: int = Field(1000, gt=0)

    def validate_value(self, name: str, value: object) -> str:
        if not isinstance(value, str) or not value:
            raise invalid_field(name, "must be a dataset")
        return value

    def validate_image_count(self, name: str, image_count: int) -> None:
        """Raise InvalidRequest for a dataset with too many images."""
        if image_count > self.max_items:
            raise invalid_field(name, f"must have at most {self.max_items} images (got {image_count})")

    def to_json_schema(self) -> dict[str, Any]:
        return dict(_FILE_SCHEMA)


#: The parameters whose values are files.
FileParameter = ImageParameter | ImageListParameter | VideoParameter | AudioParameter | DatasetParameter
